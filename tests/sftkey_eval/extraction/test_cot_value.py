import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.cot_value import find_checked_values, find_cot_value
from sftkey_eval.kinds.kind_table import KINDS

OPTIONS = ("10", "12", "14")
REAL = ("36 mm", "3.54e-07", "v", "will not grow", "(2 / s^3)", "$ 50.4 billion")

COT_VALUES: list[tuple[AnswerType, str, tuple[str, ...] | None, str | None]] = [
    ("number", "3 + 4 = 7, so there are 7 apples.", None, "7"),
    ("number", "He pays \\$1,234.50.", None, "\\$1,234.50"),
    ("number", "no value", None, None),
    ("number", "2*13 = <<2*13=26>>26 inches in 13 years", None, "26"),
    ("number", "it takes 459/51=<<459/51=9.0>>9 minutes to blink 459 times.", None, "9"),
    ("number", "So he paid $60 - $24 = $36 for the 2 shirts.", None, "$36"),
    ("number", "It melts 4 x 2 = 8 cm.\nIt will be 8 cm shorter from 1:00 to 5:00.", None, "8"),
    ("number", "She was in 5th + 1 = 6th place.", None, "6"),
    ("number", "In all 60/12 = 5 dozens of cookies", None, "5"),
    ("number", "He divides 12 by 1.5, which gives 8.", None, "8"),
    ("number", "There are 3 such primes with 2 digits.", None, "3"),
    ("number", "1. He has 5 apples.\n2. **Summary**", None, "5"),
    ("number", "So x = 7.\nThus, the value of f(3) is", None, "7"),
    ("number", "So x = 7.\nThus, the 5 of them cost:\n", None, "7"),
    ("number", "So x = 7. What is 3 times 4?", None, "7"),
    ("number", "That means 9 - 2 = 7 left to make.", None, "7"),
    ("number", "7 is not 8", None, "8"),
    ("choice", "(A) is too small, so (B).", None, "B"),
    ("choice", "5+7=12", None, None),
    ("choice", "5+7=12", OPTIONS, "B"),
    ("choice", "5+7=12, that is (C)", OPTIONS, "C"),
    ("choice", "(C) seems right, but 5+7=12", OPTIONS, "B"),
    ("choice", "5+7=99", OPTIONS, None),
    ("choice", "5+7=12", ("24/2", "12.0"), None),
    ("choice", "So the sky is dark red.", ("red", "dark red", "blue"), "B"),
    ("choice", "So we have tired.", ("red", "blue"), None),
    ("choice", "We cannot conclude that it is red.", ("red", "blue"), None),
    ("choice", "So in acid it will not grow.", REAL, "D"),
    ("choice", "The answer is (C) and (B).", OPTIONS, None),
    ("choice", "We have $P(A)P(B)P(C)$.", OPTIONS, None),
    ("choice", "It has copper(B) in it.", OPTIONS, None),
    ("choice", "The energy is 4.5 C.", OPTIONS, None),
    ("choice", "So $q = 4.0 \\times 8.85 = 3.54 \\times 10^{-7} C$.", REAL, "B"),
    ("choice", "Then v = sqrt(2)v.", REAL, None),
    ("choice", "It is 2!/s^3, which is (2 / s^3).", REAL, "E"),
    ("choice", "In all $30 billion + $20.4 billion = $50.4 billion.", REAL, "F"),
    ("choice", "It has 12 rows of 3.", OPTIONS, None),
    ("boolean", "True, but no.", None, "no"),
    ("text", "The answer is Paris.", None, "Paris"),
    ("text", "It is in France.", None, None),
    # The Key stood behind the bracket, in a display.
    ("text", "So it is an ellipse.\n\n**Final Answer**:\n\\[\n", None, None),
    ("text", "So it is Evelyn.\n\nThe answer is \\(", None, None),
    ("math", "Hence \\boxed{x+1}.", None, "x+1"),
    ("math", "So n = 3.\n\nThus, the polynomial is:\n\n\\[\n6r^2 - 4r - 24.\n\\]\n", None, "6r^2 - 4r - 24"),
    (
        "math",
        "Here a = 1.\nThe domain is:\n$$ (-\\infty, 2) \\cup (3, \\infty) $$",
        None,
        "(-\\infty, 2) \\cup (3, \\infty)",
    ),
    ("math", "So p > 1.\nThus we get:\n\\[ \\left( 1, 8 \\right] \\]", None, "\\left( 1, 8 \\right]"),
    (
        "math",
        "a = 1\n\nThen \\(v\\) is:\n\\[\n\\begin{pmatrix} 1 \\\\ -2 \\end{pmatrix}\n\\]",
        None,
        "\\begin{pmatrix} 1 \\\\ -2 \\end{pmatrix}",
    ),
    (
        "math",
        "Thus \\(v\\) is \\(\\begin{pmatrix} 1 & 2 \\end{pmatrix}\\).",
        None,
        "\\begin{pmatrix} 1 & 2 \\end{pmatrix}",
    ),
    ("math", "So it is 7.\n\n\\[ a + b \\]", None, "7"),
    ("math", "First \\boxed{3}.\nThen x = \\frac{23}{8}.\nThus the value is", None, "\\frac{23}{8}"),
    ("math", "Then $y = \\sqrt{2}$.", None, "\\sqrt{2}"),
    ("math", "Then $y = 3$. In all 4.", None, "4"),
    ("math", "Since $y = 3$, there are $11$ of them.", None, "11"),
    ("math", "\\[\nx = 3 \\quad \\text{(valid)}\n\\]\nThus, for 5 of them:\n\\[", None, "3"),
    ("math", "So the point is \\((15, -29)\\).", None, "(15, -29)"),
    ("math", "The polar coordinates are (3, \\pi/2).", None, "(3, \\pi/2)"),
    ("math", "Thus $10000 \\equiv 4 \\pmod{7}$.", None, "4"),
    ("math", "The roots are \\(x = 5\\), \\(x = 7\\), and \\(x = 3\\).", None, "5, 7, 3"),
    ("math", "The roots are \\( x = -2, 1, 6 \\).", None, "-2, 1, 6"),
    ("math", "The term \\(a = 129\\) is the first that is greater than 125.", None, "129"),
    ("math", "\\[64^{1/3} = 4 \\quad (since 4^3 = 64)\\]", None, "4"),
    ("math", "The graph is an ellipse.", None, "ellipse"),
    ("math", "Then x = 2. This is correct.", None, "2"),
    ("math", "Then x = 2. So x = \\frac{1", None, "2"),
    ("math", "Then x = 2.\nx^2 < sqrt(5 + 3) + 7", None, "2"),
    ("math", "Then x = 2.\nIt is less than x^2 + (1/2", None, "2"),
    ("math", "Then x = 2.\nDistance to (0, 5):\nSo be it.", None, "2"),
    ("math", "\\frac{233}{43} = y.\n5.4186 \\approx 5.4", None, "5.4"),
    ("math", "Then x = 3.\n313.9 \\\\\n326.5 \\\\\n\\end{array}", None, "326.5"),
    ("math", "So a = 2. We used that \\(a + b = 0\\).", None, "a + b = 0"),
    ("math", "So a = 2, for a^2 - 4 = 0.", None, "0"),
    ("math", "326.5 is the correct sum of 313.9 and 12.6.", None, "326.5"),
]


@pytest.mark.parametrize(("answer_type", "cot", "choices", "value"), COT_VALUES, ids=[c[1] for c in COT_VALUES])
def test_the_last_value_a_cot_states_is_found(
    answer_type: AnswerType, cot: str, choices: tuple[str, ...] | None, value: str | None
) -> None:
    assert find_cot_value(cot, KINDS[answer_type], Choices.of(choices)) == value


def test_the_values_before_a_check_are_those_it_may_be_about() -> None:
    cot = "First y = 5.\nSo x = 2.\nTo verify, 2 * 36 = 72."
    assert find_checked_values(cot, KINDS["number"]) == ["2", "5"]
    assert find_checked_values(cot.replace("To verify, ", ""), KINDS["number"]) == []
    assert find_checked_values(cot, KINDS["text"]) == []


TYPES: tuple[AnswerType, ...] = ("number", "math", "choice", "boolean", "text", "list")
PIECES = [
    *"ab1 \n.$=,;:(){}[]\\-?",
    "is ",
    "\\(",
    "\\)",
    "\\boxed{",
    "\\frac{",
    " (B)",
    "12",
    "and ",
    "verify",
    "**",
    "1. ",
]


@given(cot=st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_no_text_is_too_strange_for_it(cot: str) -> None:
    for answer_type in TYPES:
        value = find_cot_value(cot, KINDS[answer_type], Choices.of(OPTIONS))
        assert value is None or value.strip()
        assert all(find_checked_values(cot, KINDS[answer_type]))


def test_the_value_of_a_gold_solution_is_its_answer(shared_data: Path) -> None:
    """GSM8K's own solutions lead to their answers, but for few that end in a remark."""
    lines = (shared_data / "raw" / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()
    found = 0
    for line in lines:
        cot, _, key = json.loads(line)["answer"].partition("####")
        value = re.sub(r"[$,\\]", "", find_cot_value(cot, KINDS["number"]) or "x")
        found += value.rstrip("%").removesuffix(".00") == key.strip().replace(",", "")
    assert found >= 0.99 * len(lines), found / len(lines)
