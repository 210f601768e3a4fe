"""Exact rules of the ladder: roots, variables, inequalities, sets, matrices, bases, ratios, words."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.format.boxes import find_boxes
from sftkey_eval.kinds.grade import grade
from sftkey_eval.policy import Policy

EQUAL = [
    ("(x+1)^2", "x^2+2x+1"),
    ("\\sqrt{8}", "2\\sqrt2"),
    ("\\frac{1}{1+\\sqrt2}", "\\sqrt2-1"),
    ("\\sqrt{1/n}", "\\frac{1}{\\sqrt{n}}"),
    ("2^{x+1}", "2\\cdot 2^x"),
    ("\\sqrt[3]{16}", "2\\sqrt[3]{2}"),
    ("3-4i", "-4i+3"),
    ("(1+2i)^2", "4i-3"),
    ("\\ln 8", "3\\ln 2"),
    ("\\log_2 8", "3"),
    ("5!", "120"),
    ("\\binom{5}{2}", "10"),
    ("1,234\\pi", "1234π"),
    ("x = 2\\sqrt{3}", "2\\sqrt3"),
    ("(p, q) = (3, 2)", "(3,2)"),
    ("AB = 4", "4"),
    ("28\\%", "28 pct"),
    ("f(x) = 2x+1", "1+2x"),
    ("10\\sqrt{3}\\text{ cm}", "10\\sqrt{3}"),
    ("\\pm 3", "3 or -3"),
    ("1\\pm\\sqrt{2}", "1-\\sqrt2, 1+\\sqrt2"),
    ("x=1, y=2", "y=2, x=1"),
    ("x > 2", "(2, \\infty)"),
    ("x > 2", "2x > 4"),
    ("(-2,2)", "x^2 < 4"),
    ("6", "2[1+2]"),
    ("1 \\le x < 3", "[1,3)"),
    ("3 > x \\ge 1", "x \\in [1,3)"),
    ("x \\ne 2", "(-\\infty,2)\\cup(2,\\infty)"),
    ("\\mathbb{R}\\setminus\\{2\\}", "x \\neq 2"),
    ("[1,2]\\cup[2,3]", "[1,3]"),
    ("\\{1,2,3,4\\}", "\\{1,3\\}\\cup\\{2,4\\}"),
    ("(-\\infty,3)", "(-oo,3)"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1.0 \\\\ \\frac{4}{2} \\end{bmatrix}"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "[[1, 2], [3, 4]]"),
    ("1011_2", "1011_{\\text{two}}"),
    ("1011_2", "1011 \\text{ (base 2)}"),
    ("(1A)_{16}", "1a_{16}"),
    ("25\\text{ base }7", "25_7"),
    ("101_2", "101 in binary"),
    ("25 base seven", "25_{\\text{seven}}"),
    ("0xFF", "FF_{16}"),
    ("11_{10}", "11"),
    ("3:4", "6 : 8"),
    ("y = 2x + 1", "2x - y + 1 = 0"),
    ("(1,2),(3,4)", "(3,4), (1,2)"),
    ("\\text{no solution}", "\\emptyset"),
    ("25", "twenty-five"),
    ("1/2", "one half"),
    ("12", "12^{\\text{th}} \\text{ grade}"),
    ("\\text{even}", "Even"),
    ("17", "x + y = 17"),
    ("\\frac{1}{3}", "0.\\overline{3}"),
    ("\\frac{1}{6}", "0.1666\\ldots"),
    ("-\\frac{41}{33}", "-1.\\overline{24}"),
    ("\\langle 1, -2\\rangle", "(1,-2)"),
    ("7:32", "S_{MBCN}:S = 7:32"),
    ("\\frac{NO}{BO}=\\frac{1}{\\sqrt{6}}", "\\frac{\\sqrt{6}}{6}"),
    ("\\begin{pmatrix}-2&0\\\\0&-2\\end{pmatrix}", "-2\\mathbf{I}"),
]
UNEQUAL = [
    ("x+1", "y+1", "value"),
    ("2\\pi", "6.28", "value"),
    ("4", "x^2 = 4", "symbolic_relation"),
    ("5", "x + 2y = 5", "symbolic_relation"),
    ("17", "x + y = 18", "symbolic_relation"),
    ("\\begin{pmatrix}-1&0\\\\0&1\\end{pmatrix}", "-\\mathbf{I}", "matrix"),
    ("\\sqrt{2}+\\sqrt{3}", "\\sqrt{5}", "value"),
    ("\\sin 1", "0.84", "value"),
    ("10\\sqrt{3}\\text{ cm}", "10\\sqrt{3}\\text{ m}", "value"),
    ("\\pm 3", "3", "values"),
    ("(1,\\sqrt2)", "(\\sqrt2,1)", "values"),
    ("(3,4]", "3", "values"),
    ("x > 2", "x \\ge 2", "region"),
    ("x > 2", "y > 2", "region"),
    ("(2,\\infty)", "[2,\\infty)", "values"),
    ("x > 2", "x > 3", "region"),
    ("(\\frac{3}{5},\\frac{8}{3}]", "\\left(\\frac{2(x-1)}{x^2(x-2)}\\right)^2\\le 0", "region"),
    ("(-2,2)", "x^2 < 5", "region"),
    ("(0,\\infty)", "\\frac{1}{x} < 0", "region"),
    ("\\frac{1}{16}", "\\frac{1}{2} \\left[ \\sin \\frac{6\\pi}{5} - \\sin \\frac{14\\pi}{15} \\right]", "value"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}", "matrix"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}", "matrix"),
    ("1011_2", "10", "base"),
    ("11_{10}", "1011_2", "base"),
    ("1A_{16}", "1B", "base"),
    ("1011_2", "1011_3", "base"),
    ("0xFF", "0", "base"),
    ("0xFF", "0b11111110", "base"),
    ("3:4", "\\frac{3}{4}", "ratio"),
    ("3:4", "4:3", "ratio"),
    ("y = 2x + 1", "2x - y - 1 = 0", "equation"),
    ("(1,2),(3,4)", "(2,1),(3,4)", "points"),
    ("\\text{no solution}", "5", "nothing"),
    ("25", "twenty-six", "number"),
    ("17", "correct", "no_value"),
    ("5", "nan", "no_value"),
    ("\\text{even}", "odd", "words"),
]


@pytest.mark.parametrize(("gold", "predicted"), EQUAL, ids=[f"{g} = {p}" for g, p in EQUAL])
def test_equal_forms_are_correct_in_both_directions(gold: str, predicted: str) -> None:
    assert grade(gold, predicted, "math").verdict == "correct"
    assert grade(predicted, gold, "math").verdict == "correct"


@pytest.mark.parametrize(("gold", "predicted", "rule"), UNEQUAL, ids=[f"{g} != {p}" for g, p, _ in UNEQUAL])
def test_different_forms_are_wrong_in_both_directions_by_a_named_rule(gold: str, predicted: str, rule: str) -> None:
    for decision in (grade(gold, predicted, "math"), grade(predicted, gold, "math")):
        assert (decision.verdict, decision.rule) == ("wrong", rule)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("1", "10^{10^{10}}"),
        ("1", "2^{2^{2^{49}}}"),
        ("1", "99999999!"),
        ("1", "(a+b+c+d)^{39}"),
        ("1", "\\sqrt{" * 200 + "2" + "}" * 200),
        ("1", "x^" * 150 + "x"),
        ("1", "\\sin " * 70 + "x"),
        ("1", "99999999999999999999999999999999999989^{1/2}"),
        ("0", "__import__('os').system('touch PWN')"),
        ("1", "x∈" * 400),
        ("1", "(-oo,1)∪" * 200),
        ("x", "\\pm" * 300 + "1"),
        ("\\sin \\pi", "10^{-20}"),
        ("12:00", "1:00"),
        ("1:05", "2:10"),
        ("33", "twenty thirteen"),
        ("1", "1 or "),
        ("11", "1011_2"),
        ("1011", "1011_2"),
        ("(1A)_{16}", "1A"),
        ("2\\pi", "2\\pi h"),
    ],
    ids=lambda text: text[:24],
)
def test_what_is_hostile_costly_or_ambiguous_is_never_correct(
    gold: str, predicted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for one, other in ((gold, predicted), (predicted, gold)):
        assert grade(one, other, "math").verdict in ("undecided", "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("30^\\circ", "\\frac{\\pi}{6}"),
        ("\\frac{\\sqrt{3}}{2}", "\\sin 60^\\circ"),
        ("0.0871", "\\sin 5^\\circ"),
        ("1", "1 + 10^9 \\sin \\pi"),
        ("FF_{16}", "255"),
        ("\\sin \\pi", "0"),
    ],
    ids=lambda text: text,
)
def test_what_may_be_equal_is_never_wrong(gold: str, predicted: str) -> None:
    assert grade(gold, predicted, "math").verdict != "wrong"
    assert grade(predicted, gold, "math").verdict != "wrong"


def test_rounding_applies_to_constants() -> None:
    assert grade("2\\pi", "6.28", "math", policy=Policy(rounding=2)).verdict == "correct"
    assert grade("2\\pi", "6.28", "math", policy=Policy(rounding=3)).verdict == "wrong"


COEFFICIENTS = st.integers(min_value=1, max_value=10**6)


@settings(max_examples=150, deadline=None)
@given(COEFFICIENTS, COEFFICIENTS, st.sampled_from(["x", "\\pi", "\\sqrt{2}", "\\sqrt[3]{5}", "i", "x^2", "(2^x)"]))
def test_a_sum_equals_its_layouts_and_none_of_its_neighbours(a: int, b: int, symbol: str) -> None:
    gold = f"{a}{symbol}+{b}"
    for same in (f"{b} + {a} {symbol}", f"\\left({b}+{a}{symbol}\\right)", f"$-(-{a}{symbol}-{b})$"):
        assert grade(gold, same, "math").verdict == "correct", same
    for other in (f"{a}{symbol}-{b}", f"{a + 1}{symbol}+{b}", f"{a}{symbol}+{b + 1}", f"{10 * a}{symbol}+{10 * b}"):
        assert grade(gold, other, "math").verdict == "wrong", other
        assert grade(other, gold, "math").verdict == "wrong", other


PIECES = [
    "1",
    "2",
    "x",
    "y",
    "+",
    "-",
    "*",
    "/",
    "^",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "=",
    "<",
    "\\le ",
    "\\cup ",
    "!",
]
PIECES += [
    "\\frac",
    "\\sqrt",
    "\\pi ",
    "\\pm ",
    "\\infty ",
    "\\sin ",
    "\\log_",
    ":",
    "_2",
    "|",
    "i",
    "e",
    "%",
    " cm",
    " or ",
]
PIECES += [
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "\\{",
    "\\}",
    "0",
    "\\in ",
    "\\emptyset",
    "½",
    "٤",
    "\ud800",
    "9" * 50,
]


def check_fuzzed(one: list[str], other: list[str]) -> None:
    gold, predicted = "".join(one), "".join(other)
    decision, mirrored = grade(gold, predicted, "math"), grade(predicted, gold, "math")
    if "unscored" not in (decision.verdict, mirrored.verdict):
        assert (decision.verdict == "correct") == (mirrored.verdict == "correct"), (decision, mirrored)
    assert grade(gold, gold, "math").verdict in ("correct", "unscored")


FUZZED = st.lists(st.sampled_from(PIECES), max_size=14)


@settings(max_examples=500, deadline=None)
@given(FUZZED, FUZZED)
def test_fuzzed_answers_are_graded_alike_in_both_directions(one: list[str], other: list[str]) -> None:
    check_fuzzed(one, other)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(FUZZED, FUZZED)
def test_many_fuzzed_answers_are_graded_alike_in_both_directions(one: list[str], other: list[str]) -> None:
    check_fuzzed(one, other)


def layouts(gold: str) -> list[str]:
    """The same answer with dollars, stretched brackets and loose spaces."""
    stretched = gold.replace("(", "\\left(").replace(")", "\\right)")
    return [f"${gold}$", stretched, f" {gold} ".replace("+", " + ").replace("=", " = ")]


def test_every_math_gold_equals_itself_in_every_layout(shared_data: Path) -> None:
    unequal = []
    for line in (shared_data / "raw" / "math" / "test.jsonl").read_text(encoding="utf-8").splitlines():
        solution = json.loads(line)["solution"]
        box = find_boxes(solution)[-1]
        gold = solution[box.content_start : box.content_end]
        unequal += [same for same in layouts(gold) if grade(gold, same, "math").verdict != "correct"]
    assert unequal == []
