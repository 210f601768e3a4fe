"""The generated arithmetic set: true CoTs, independent Keys, regimes, splits that never share a question."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from sftkey_data.config import validate
from sftkey_data.datasets._arithmetic_problems import sums
from sftkey_data.datasets._word_problems import WORD_PROBLEMS, WORDS
from sftkey_data.datasets.arithmetic import COLUMNS, SPLITS, Options, extract, generate
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Reject
from sftkey_data.format.template import BUILTIN

EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
NUMBER = re.compile(r"\d+")
REGIMES = ("copy", "step", "choice")
KINDS = ("sums", "word", "mixed")

# What each story asks for, from the numbers in the order in which the question states them: written down a second time,
# apart from the sentences that the generator computes with.
ANSWERS: dict[str, Callable[..., int | Fraction]] = {
    "shopping": lambda count, price, more: count * price + more,
    "distance": lambda hours, speed, walk: hours * speed + walk,
    "sharing": lambda have, more, friends: Fraction(have + more, friends),
    "ages": lambda age, older, years: age + older + years,
    "rate": lambda rate, pages, minutes: pages - rate * minutes,
    "savings": lambda have, weekly, weeks: have + weekly * weeks,
    "recipe": lambda eggs, batches, have, box: Fraction(eggs * batches - have, box),
    "market": lambda crates, price, baskets, cheap: crates * price + baskets * cheap,
    "change": lambda count, price, off, paid: paid - (count * price - off),
    "wages": lambda hours, days, wage, spent: hours * days * wage - spent,
    "garden": lambda rows, each, given, beds: Fraction(rows * each - given, beds),
    "passengers": lambda start, off, on, later: start - off + on - later,
    "reading": lambda daily, days, pages, rest: Fraction(pages - daily * days, rest),
    "theatre": lambda rows, seats, empty, price, rent: (rows * seats - empty) * price - rent,
    "bakery": lambda trays, rolls, sheets, buns, sold: trays * rolls + sheets * buns - sold,
    "trip": lambda before, hours, speed, more_hours, next_speed: before + hours * speed + more_hours * next_speed,
    "fundraiser": lambda cars, price, gifts, soap, children: Fraction(cars * price + gifts - soap, children),
}

STORY_ENDS = {
    **dict.fromkeys(("shopping", "distance", "ages", "savings", "market", "trip"), "+"),
    **dict.fromkeys(("rate", "change", "wages", "passengers", "theatre", "bakery"), "-"),
    **dict.fromkeys(("sharing", "recipe", "garden", "reading", "fundraiser"), "/"),
}

rows_of_every_sort = pytest.mark.parametrize(
    "rows",
    [
        pytest.param((regime, kind, ratio), id=f"{regime}-{kind}-{ratio}")
        for regime in REGIMES
        for kind, ratio in (("sums", 0), ("word", 200), ("mixed", 0))
    ],
    indirect=True,
)


def build(split: str = "train", **options: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in generate(Options(**options), split)]


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    regime, kind, cot_ratio = request.param
    operators = "+-" if kind == "sums" else "+"
    return build(num=230, kind=kind, regime=regime, max_steps=4, cot_ratio=cot_ratio, operators=operators)


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in NUMBER.findall(text)]


def true_value(row: dict[str, Any]) -> int | Fraction:
    """The answer from the question's text alone."""
    stated = numbers_in(row["question"])
    if row["problem"] in ANSWERS:
        return ANSWERS[row["problem"]](*stated)
    assert re.fullmatch(r"\d+([-+]\d+)+\?", row["question"])
    return sum(int(signed) for signed in re.findall(r"[-+]?\d+", row["question"]))


def test_the_demo_question_looks_as_documented() -> None:
    row = build(
        num=1, kind="sums", regime="choice", min_steps=2, max_steps=2, max_value=99, num_choices=3, distractor_gap=4
    )[0]
    assert row == {
        "question": "58+84+12?",
        "solution": "58 + 84 = 142\n142 + 12 = 154",
        "answer": "A",
        "options": ["154", "153", "155"],
        "value": 154,
        "problem": "n+n+n",
        "regime": "choice",
    }
    assert extract(row).prompt == "58+84+12?\nA) 154\nB) 153\nC) 155"


@rows_of_every_sort
def test_every_equation_of_a_cot_is_true(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        equations = EQUATION.findall(row["solution"])
        assert len(equations) == row["solution"].count("=") == len(row["solution"].splitlines())
        for left, op, right, result in equations:
            a, b = Fraction(left), Fraction(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[op] == int(result), row


@rows_of_every_sort
def test_the_key_is_the_answer_to_the_question(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        parts = extract(row)
        if row["regime"] == "choice":
            assert parts.answer_type == "choice"
            assert parts.choices is not None
            assert len(parts.choices) == 4
            shown = parts.choices["ABCD".index(parts.key)]
            assert f"\n{parts.key}) {shown}" in parts.prompt
        else:
            assert (parts.answer_type, parts.choices, parts.prompt) == ("number", None, row["question"])
            shown = parts.key
        assert shown == str(true_value(row)) == str(row["value"])


@rows_of_every_sort
def test_the_regime_decides_what_the_cot_leaves_to_the_key(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        cot, steps = row["solution"], EQUATION.findall(row["solution"])
        num_operations = len(numbers_in(row["question"])) - 1  # every number of a question is used once
        if row["regime"] == "step":
            assert len(steps) >= num_operations - 1
            assert true_value(row) not in numbers_in(cot)
            assert true_value(row) == unstated_operation(row)
        else:
            assert len(steps) >= num_operations
            assert numbers_in(cot)[-1] == true_value(row)
        if row["regime"] == "choice":
            assert not re.search(r"\b[A-Z]\b", cot), "the CoT names a letter"


def unstated_operation(row: dict[str, Any]) -> int | Fraction:
    """The one operation left when the stated steps are done: it uses the two numbers that no stated step has used."""
    numbers, results = Counter(numbers_in(row["question"])), Counter[int]()
    num_stated = sum(numbers.values()) - 2
    for left, _, right, result in EQUATION.findall(row["solution"])[:num_stated]:
        numbers -= Counter([int(left), int(right)]) - results
        results = results - Counter([int(left), int(right)]) + Counter([int(result)])
    left_over = [*numbers.elements(), *results.elements()]
    assert len(left_over) == 2, row
    a, b = (Fraction(number) for number in sorted(left_over, reverse=True))
    last = row["question"] if row["problem"].startswith("n") else STORY_ENDS[row["problem"]]
    op = re.findall(r"[-+/]", last)[-1]
    return {"+": a + b, "-": a - b, "/": a / b}[op]


@rows_of_every_sort
@pytest.mark.parametrize("template", BUILTIN.values(), ids=BUILTIN.keys())
def test_every_template_reads_the_parts_back(rows: list[dict[str, Any]], template: Any) -> None:
    for row in rows[:40]:
        parts = extract(row)
        completion, _ = template.render(parts.cot, parts.key)
        assert template.parse(completion) == (parts.cot, parts.key)


@rows_of_every_sort
def test_no_question_comes_twice(rows: list[dict[str, Any]]) -> None:
    assert max(Counter((row["problem"], *numbers_in(row["question"])) for row in rows).values()) == 1


def test_questions_are_whole_sentences_without_open_slots() -> None:
    seen = build(num=600, kind="word", max_steps=4)
    assert {row["problem"] for row in seen} == set(ANSWERS) == {problem.name for problem in WORD_PROBLEMS}
    for row in seen:
        assert re.fullmatch(r"[A-Z][^{}]*\?", row["question"]), row
        for sentence in row["solution"].splitlines():
            assert re.fullmatch(r"([A-Z]|\d)[^{}]*\.", sentence), row
        assert not re.search(r"\b1 [a-z]", row["question"] + row["solution"]), "a plural after 1"


def test_every_word_varies_and_every_slot_is_filled() -> None:
    slots = {
        slot for p in WORD_PROBLEMS for text in (p.question, *p.solution) for slot in re.findall(r"\{(\w+)\}", text)
    }
    numbers = {slot for p in WORD_PROBLEMS for slot in (*p.numbers, *(slot for *_, slot in p.equations))}
    assert slots - numbers == set(WORDS)
    text = "\n".join(row["question"] + row["solution"] for row in build(num=1500, kind="word", max_steps=4))
    assert [word for words in WORDS.values() for word in words if word not in text] == []


@pytest.mark.parametrize("problem", [*WORD_PROBLEMS, *sums(3, "+-")], ids=lambda problem: problem.name)
def test_a_problem_states_all_its_numbers_and_uses_each_of_them(problem: Any) -> None:
    assert sorted(re.findall(r"\{(\w+)\}", problem.question), key=list(problem.numbers).__contains__)
    assert all(problem.question.count(f"{{{slot}}}") == 1 for slot in problem.numbers)
    used = [slot for left, _, right, _ in problem.equations for slot in (left, right)]
    results = [slot for *_, slot in problem.equations]
    assert sorted(used) == sorted([*problem.numbers, *results[:-1]])


@pytest.mark.parametrize("num_choices", [3, 5])
def test_neither_the_position_nor_the_rank_of_the_right_option_gives_it_away(num_choices: int) -> None:
    rows = build(num=3000, kind="sums", regime="choice", num_choices=num_choices, distractor_gap=6)
    positions = Counter("ABCDEFGH".index(row["answer"]) for row in rows)
    ranks = Counter(sorted(map(int, row["options"])).index(row["value"]) for row in rows)
    for counts in (positions, ranks):
        expected = len(rows) / num_choices
        assert sorted(counts) == list(range(num_choices))
        # 99.9 % quantile of chi-square with 2 (13.8) and 4 (18.5) degrees of freedom; the seed is fixed
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < {3: 13.8, 5: 18.5}[num_choices]


@pytest.mark.parametrize(
    ("num_choices", "gap"), [(2, 1), (3, 2), (4, 9), (8, 7)], ids=["2-in-1", "3-in-2", "4-in-9", "8-in-7"]
)
def test_wrong_options_are_distinct_positive_and_close(num_choices: int, gap: int) -> None:
    options: dict[str, Any] = {"kind": "sums", "min_steps": 1, "max_steps": 2, "max_value": 10, "operators": "+-"}
    for row in build(num=200, regime="choice", num_choices=num_choices, distractor_gap=gap, **options):
        values = [int(option) for option in row["options"]]
        assert len(set(values)) == len(values) == num_choices
        assert values.count(row["value"]) == 1
        assert all(value > 0 and abs(value - row["value"]) <= gap for value in values)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_never_share_a_question_whatever_seed_and_regime(kind: Any) -> None:
    def questions(split: str, **options: Any) -> set[tuple[Any, ...]]:
        rows = build(split, kind=kind, max_value=30, max_steps=2, **options)
        return {(row["problem"], *sorted(numbers_in(row["question"]))) for row in rows}

    train = questions("train", num=1500) | questions("train", num=1500, regime="choice", seed=3)
    validation, test = questions("validation", num=300), questions("test", num=300, seed=7)
    assert not train & test
    assert not train & validation
    assert not validation & test


def test_splits_cut_all_questions_into_parts_of_the_promised_size() -> None:
    with pytest.raises(SFTKeyError) as error:
        build(num=10**6, kind="sums", min_steps=2, max_steps=2, max_value=30)
    in_train = int(re.findall(r"only (\d+) distinct train questions", str(error.value))[0])
    assert abs(in_train / 30**3 - 0.8) < 0.03
    assert sum(len(percentiles) for percentiles in SPLITS.values()) == len(set().union(*SPLITS.values())) == 100


def test_an_exhausted_space_says_how_many_questions_there_are_and_gives_each_of_them() -> None:
    options = {"kind": "sums", "min_steps": 1, "max_steps": 1, "max_value": 16}
    found: list[str] = []
    for split in SPLITS:
        with pytest.raises(SFTKeyError, match=rf"only \d+ distinct {split} questions exist .* num = 257") as error:
            build(split, num=257, **options)
        assert "\n" not in str(error.value)
        size = int(re.findall(r"only (\d+)", str(error.value))[0])
        found += [row["question"] for row in build(split, num=size, **options)]
    assert sorted(found) == sorted(f"{a}+{b}?" for a in range(1, 17) for b in range(1, 17))


def test_a_small_problem_that_runs_out_leaves_its_place_to_the_others() -> None:
    rows = build(num=3000, kind="sums", min_steps=1, max_steps=2, max_value=20)
    lengths = Counter(len(numbers_in(row["question"])) for row in rows)
    assert lengths[2] < 400
    assert lengths[2] + lengths[3] == 3000


def test_kinds_and_lengths_are_equally_frequent() -> None:
    rows = build(num=2400, kind="mixed", min_steps=2, max_steps=4)
    groups = Counter((row["problem"] in ANSWERS, len(row["solution"].splitlines())) for row in rows)
    assert len(groups) == 6
    assert all(abs(count - 400) < 80 for count in groups.values())


@pytest.mark.parametrize("max_value", [10, 50, 1000])
def test_no_question_states_more_than_max_value(max_value: int) -> None:
    stated = [max(numbers_in(row["question"])) for row in build(num=120, max_value=max_value, max_steps=4)]
    assert max(stated) <= max_value
    assert max(stated) > 0.8 * max_value


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("kind", ["sums", "word"])
def test_cot_ratio_is_reached_and_moves_the_measured_ratio(regime: Any, kind: Any) -> None:
    def ratios(cot_ratio: float) -> list[float]:
        rows = build(num=60, kind=kind, regime=regime, cot_ratio=cot_ratio)
        return [len(row["solution"]) / len(row["answer"]) for row in rows]

    asked = (0, 120, 240, 480)
    measured = [ratios(cot_ratio) for cot_ratio in asked]
    medians = [statistics.median(ratio) for ratio in measured]
    assert all(low < high for low, high in pairwise(medians))
    for cot_ratio, ratio in zip(asked, measured, strict=True):
        assert min(ratio) >= cot_ratio
    assert max(measured[-1]) < 480 + 160  # two lines at most beyond what was asked, for Keys of one character


@pytest.mark.parametrize("regime", REGIMES)
def test_noise_is_a_line_of_digits_before_a_cot_that_is_otherwise_the_same(regime: Any) -> None:
    plain, noisy = build(num=200, regime=regime), build(num=200, regime=regime, noise=12)
    first = [row["solution"].partition("\n")[0] for row in noisy]
    assert all(re.fullmatch(r"\d{12}", line) for line in first)
    assert [{**row, "solution": row["solution"].partition("\n")[2]} for row in noisy] == plain
    digits = Counter("".join(first))
    assert len(set(first)) == 200
    assert all(170 < digits[digit] < 310 for digit in "0123456789")  # 240 each expected, four deviations either way


def test_fewer_examples_are_a_prefix_of_more() -> None:
    assert build(num=200, regime="choice")[:50] == build(num=50, regime="choice")


def test_another_seed_gives_other_questions() -> None:
    first, second = (build(num=50, kind="sums", max_value=999, seed=seed) for seed in (0, 1))
    assert not {row["question"] for row in first} & {row["question"] for row in second}


def test_rows_are_the_same_bytes_in_every_process() -> None:
    script = (
        "import json, sys; from sftkey_data.datasets.arithmetic import Options, generate\n"
        "options = Options(num=120, regime='choice', max_steps=4, cot_ratio=90)\n"
        "json.dump([dict(row) for row in generate(options, 'test')], sys.stdout)"
    )
    here = json.dumps(build("test", num=120, regime="choice", max_steps=4, cot_ratio=90))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout == here


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"regim": "copy"}, "did you mean 'regime'", id="misspelt"),
        pytest.param({"regime": "guess"}, "'copy', 'step' or 'choice'", id="unknown regime"),
        pytest.param({"min_steps": 4}, "min_steps = 4 is more than max_steps = 3", id="min over max"),
        pytest.param({"max_steps": 5}, "word problems have 2 to 4 steps, found 2 to 5", id="long story"),
        pytest.param({"kind": "word", "min_steps": 1}, "word problems have 2 to 4 steps", id="short story"),
        pytest.param(
            {"kind": "sums", "min_steps": 1, "regime": "step"}, "min_steps must be at least 2", id="no step left"
        ),
        pytest.param({"regime": "choice", "distractor_gap": 2}, "distractor_gap >= 3, found 2", id="narrow gap"),
    ],
)
def test_options_that_cannot_be_met_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SFTKeyError) as error:
        validate(options, Options, where="arithmetic option")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_option_describes_itself() -> None:
    assert all(field.description for field in Options.model_fields.values())


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(SFTKeyError, match=r"split 'tets' is not known \(did you mean 'test'\?\)"):
        build("tets")


ROW = {"question": "1+2?", "solution": "1 + 2 = 3", "answer": "B", "options": ["4", "3"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"question": None}, "null_value", id="null question"),
        pytest.param({"answer": 3}, "wrong_type", id="number as answer"),
        pytest.param({"options": "4, 3"}, "wrong_type", id="text as options"),
        pytest.param({"options": [4, 3]}, "wrong_type", id="numbers as options"),
        pytest.param({"answer": "C"}, "answer_not_an_option", id="letter beyond"),
        pytest.param({"answer": "AB"}, "answer_not_an_option", id="two letters"),
        pytest.param({"answer": ""}, "answer_not_an_option", id="no letter"),
        pytest.param({"options": ["0"] * 9}, "answer_not_an_option", id="more options than letters"),
    ],
)
def test_a_row_that_cannot_be_used_is_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as error:
        extract({**ROW, **change})
    assert error.value.reason == reason
    assert {*COLUMNS, "options"} == set(ROW)
