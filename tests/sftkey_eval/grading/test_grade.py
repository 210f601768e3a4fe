import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.decision import Decision
from sftkey_eval.kinds.grade import grade
from sftkey_eval.policy import DEFAULT_POLICY, Policy


def test_every_conformance_case_gets_its_verdict(
    shared_conformance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (shared_conformance / "answers.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        verdict = grade(case["gold"], case["predicted"], case["answer_type"]).verdict
        assert (verdict == "correct") == case["equal"], case["id"]
    assert not (tmp_path / "PWN").exists()


EQUAL = [
    ("number", "18", "$18.00"),
    ("number", "1,234", "1234"),
    ("number", "50%", "0.5"),
    ("number", "0.5", "50%"),
    ("number", "50%", "50"),
    ("number", "10 cm", "10"),
    ("number", "10", "10 apples"),
    ("number", "20 mph", "20 miles per hour"),
    ("number", "x = 5", "5"),
    ("math", "\\frac{1}{2}", "0.5"),
    ("math", "\\sqrt{2}", "\\sqrt 2"),
    ("math", "2\\pi", "2π"),
    ("math", "\\left(1, 2\\right)", "(1,2)"),
    ("math", "1,2,3", "3, 2, 1"),
    ("math", "\\{1,2\\}", "2,1"),
    ("math", "\\{1,1,2\\}", "\\{1,2\\}"),
    ("math", "\\text{Friday}", "friday"),
    ("math", "Navin", "Navin earns the most of all."),
    ("math", "3\\sqrt{13}", "3√13"),
    ("math", "\\sqrt{x+1}", "√(x+1)"),
    ("math", "\\sqrt[3]{4}", "∛4"),
    ("math", "x^{10}", "x¹⁰"),
    ("math", "2^{-3}x", "2⁻³x"),
    ("math", "x_1 + 2", "x₁ + 2"),
    ("math", "512", "2 ** 3 ** 2"),
    ("math", "64", "(2^3)^2"),
    ("math", "64", "{2^3}^2"),
    ("math", "36", "3!^2"),
    ("math", "x+1", "= x + 1"),
    ("math", "x+1", "```\nx + 1\n```"),
    ("number", "42", "= 42"),
    ("number", "-3", "minus 3"),
    ("number", "-3", "negative 3"),
    ("number", "42", "\\(42\\) apples"),
    ("number", "42", "**42** apples"),
    ("text", "3:4", "3 : 4"),
    ("choice", "B", "(b)"),
    ("boolean", "yes", "True."),
    ("text", "New  York", "new york."),
    ("text", "Zürich", "ZÜRICH"),
    ("list", "a, b and c", "[c, a, b]"),
    ("list", "1, 2", "2.0; 1"),
]
UNEQUAL = [
    ("number", "0.5", "50", "number"),
    ("number", "10 cm", "10 m", "number"),
    ("number", "$5", "5%", "number"),
    ("number", "5", "5 million", "number"),
    ("number", "100", "100.005", "number"),
    ("number", "13/4", "1 3/4", "number"),
    ("number", "3", "3 or 4", "hedged"),
    ("number", "3", "3, 4", "not_a_number"),
    ("number", "5", "Friday", "not_a_number"),
    ("math", "Navin", "Navin earns less than Ian", "words"),
    ("math", "Navin", "Navin and others earn the most", "words"),
    ("math", "4", "?", "no_answer"),
    ("number", "34", "3 4", "not_a_number"),
    ("math", "x=5", "y=5", "number"),
    ("math", "64", "2 ** 3 ** 2", "value"),
    ("math", "64x", "(2^3)^2^0x", "value"),
    ("number", "-3", "minus -3", "not_a_number"),
    ("math", "(1,2]", "[1,2]", "elements"),
    ("math", "(1,2)", "(2,1)", "elements"),
    ("math", "(1,2)", "\\{1,2\\}", "elements"),
    ("math", "1,2,3", "1,2", "elements"),
    ("math", "1,1,2", "1,2", "elements"),
    ("math", "2", "1,2", "elements"),
    ("math", "\\text{Evelyn}", "Evan", "words"),
    ("math", "4", "", "no_answer"),
    ("choice", "B", "A or B", "hedged"),
    ("choice", "A", "Apple", "no_option"),
    ("choice", "B", "C", "option"),
    ("boolean", "yes", "no", "boolean"),
    ("boolean", "yes", "yes or no", "not_a_boolean"),
    ("text", "Paris", "London", "different_text"),
    ("list", "a, b", "a", "list"),
    ("list", "(1, 2)", "(2, 1)", "list"),
]


@pytest.mark.parametrize(("answer_type", "gold", "predicted"), EQUAL, ids=[f"{t}: {g} = {p}" for t, g, p in EQUAL])
def test_equal_answers_are_correct(answer_type: AnswerType, gold: str, predicted: str) -> None:
    assert grade(gold, predicted, answer_type).verdict == "correct"


@pytest.mark.parametrize(
    ("answer_type", "gold", "predicted", "rule"), UNEQUAL, ids=[f"{t}: {g} = {p}" for t, g, p, _ in UNEQUAL]
)
def test_different_answers_are_wrong_by_a_named_rule(
    answer_type: AnswerType, gold: str, predicted: str, rule: str
) -> None:
    assert grade(gold, predicted, answer_type) == Decision("wrong", rule)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [("\\sqrt{x^2}", "x"), ("(1,2)", "1,2"), ("\\sin^2 x", "1 - \\sin^2 x")],
)
def test_what_only_symbolic_rules_can_tell_apart_is_wrong(gold: str, predicted: str) -> None:
    assert grade(gold, predicted, "math").verdict == "wrong"


UNUSABLE: list[tuple[AnswerType, str | None]] = [
    ("number", ""),
    ("math", "  "),
    ("math", "$$"),
    ("text", "\\boxed{}"),
    ("number", "Friday"),
    ("number", "9" * 20_000),
    ("choice", "Paris"),
    ("choice", "A or B"),
    ("boolean", "maybe"),
    ("list", None),
]


@pytest.mark.parametrize(
    ("answer_type", "gold"),
    UNUSABLE,
    ids=[f"{kind}: {str(gold)[:20]!r}" for kind, gold in UNUSABLE],
)
def test_an_empty_or_unusable_gold_leaves_the_item_unscored_whatever_is_predicted(
    answer_type: AnswerType, gold: str | None
) -> None:
    for predicted in (gold, "4", "A", None):
        assert grade(gold, predicted, answer_type).verdict == "unscored"


def test_choices_let_texts_stand_for_letters() -> None:
    choices = ("10", "12", "14")
    assert grade("B", "12", "choice", choices=choices) == Decision("correct", "option")
    assert grade("12", "B", "choice", choices=choices) == Decision("correct", "option")
    assert grade("B", "14", "choice", choices=choices) == Decision("wrong", "option")
    assert grade("B", "D", "choice", choices=choices) == Decision("wrong", "no_option")


@pytest.mark.parametrize(
    ("policy", "answer_type", "gold", "predicted"),
    [
        (Policy(percent="strict"), "number", "50%", "50"),
        (Policy(units="strict"), "number", "10 cm", "10"),
        (Policy(case="keep"), "text", "Paris", "paris"),
        (Policy(order="keep"), "math", "1,2", "2,1"),
        (Policy(order="keep"), "list", "a, b", "b, a"),
    ],
    ids=["percent", "units", "case", "order in mathematics", "order in lists"],
)
def test_every_field_of_the_policy_changes_a_verdict(
    policy: Policy, answer_type: AnswerType, gold: str, predicted: str
) -> None:
    assert grade(gold, predicted, answer_type).verdict == "correct"
    assert grade(gold, predicted, answer_type, policy=policy).verdict == "wrong"
    assert policy.digest != DEFAULT_POLICY.digest


def test_rounding_compares_at_the_given_decimal_places() -> None:
    assert grade("0.333", "1/3", "number").verdict == "wrong"
    assert grade("0.333", "1/3", "number", policy=Policy(rounding=3)).verdict == "correct"
    assert grade("0.333", "1/3", "number", policy=Policy(rounding=4)).verdict == "wrong"


ANSWERS = st.text(alphabet=st.sampled_from("0123456789.,/%$-+=^_{}()[]\\ abABorfractextYesno½٤−\ud800\n"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(ANSWERS, ANSWERS, st.sampled_from(get_args(AnswerType)))
def test_grading_never_raises_and_a_usable_gold_equals_itself(
    gold: str, predicted: str, answer_type: AnswerType
) -> None:
    assert grade(gold, predicted, answer_type).verdict in ("correct", "wrong", "undecided", "unscored")
    itself = grade(gold, gold, answer_type)
    assert itself.verdict in ("correct", "unscored"), itself


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=1, max_value=10**30), st.sampled_from(("number", "math")))
def test_a_number_equals_its_layouts_and_none_of_its_neighbours(n: int, answer_type: AnswerType) -> None:
    for same in (f"{n:,}", f"${n}$", f"{n}.0", f"x = {n}", f"\\frac{{{2 * n}}}{{2}}"):
        assert grade(str(n), same, answer_type).verdict == "correct", same
    for other in (n + 1, n - 1, -n, 10 * n, 100 * n):
        assert grade(str(n), f"{other:,}", answer_type).verdict == "wrong", other


SIZE = 2_000_000
HOSTILE = {
    "spaces": " " * SIZE,
    "digits": "9" * 1_000_000,
    "open parentheses": "(" * SIZE,
    "balanced parentheses": "(" * (SIZE // 2) + "1" + ")" * (SIZE // 2),
    "open braces": "{" * SIZE,
    "nested boxes": "\\boxed{" * (SIZE // 14) + "}" * (SIZE // 14),
    "nested fractions": "\\frac{" * 1_500,
    "commas": "1," * 2_500,
    "dollars": "$" * SIZE,
    "ors": "or " * 3_000,
    "backslashes": "\\" * 9_999,
    "powers": "1x10^" * 1_500,
    "dots": "." * SIZE,
    "vulgar fractions": "½" * 9_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("answer_type", get_args(AnswerType))
def test_a_hostile_answer_is_judged(answer_type: AnswerType, text: str) -> None:
    gold = {"choice": "A", "boolean": "yes", "list": "a, b"}.get(answer_type, "2")
    assert grade(gold, text, answer_type).verdict in ("wrong", "undecided")


def test_a_number_too_long_to_be_written_out_is_left_undecided() -> None:
    verdict = grade("x+1", r"\sin(-2^{6000}*2^{6000}*2^{6000})+x", "math").verdict
    assert verdict == "undecided"
