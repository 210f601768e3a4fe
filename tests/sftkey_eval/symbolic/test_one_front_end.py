"""The symbolic rule takes answers apart as the exact rules do."""

import pytest

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Decision
from sftkey_eval.mathematics.front_end import both_signs, split_name, unit_splits
from sftkey_eval.policy import DEFAULT_POLICY
from sftkey_eval.symbolic.symbolic_rule import same_expression

pytest.importorskip("math_verify")

AGREED = {
    "a plus and a minus": ("\\frac{\\sqrt{x}}{2} +- y", "\\frac{\\sqrt{x}}{2} \\pm y", "correct"),
    "a plus over a minus": ("x +/- \\sqrt{y}", "x \\pm \\sqrt{y}", "correct"),
    "no solution in words": ("\\emptyset", "no real solutions", "correct"),
    "empty braces": ("\\varnothing", "\\{\\}", "correct"),
    "none": ("x^2", "none", "undecided"),
    "undefined": ("x^2", "dne", "undecided"),
    "a comma before or": ("x, \\sqrt{y}", "\\sqrt{y}, or x", "correct"),
    "capitals between members": ("x, \\sqrt{y}", "\\sqrt{y} OR x", "correct"),
    "a product as a name": ("ab = x^2", "ba = x \\cdot x", "correct"),
}


@pytest.mark.parametrize(("gold", "predicted", "verdict"), AGREED.values(), ids=AGREED.keys())
def test_one_reading_holds_in_the_symbolic_rule(gold: str, predicted: str, verdict: str) -> None:
    decision = Decision(*same_expression(Answer(gold), Answer(predicted), DEFAULT_POLICY))
    assert decision.verdict == verdict, decision


def test_a_name_is_split_off_unless_a_relation_follows() -> None:
    assert split_name("x = 5") == ("x", "5")
    assert split_name("f(x) = x^2") == ("f(x)", "x^2")
    assert split_name("Area = 12") == ("Area", "12")
    assert split_name("x \\in (1,2)") == ("x", "(1,2)")
    assert split_name("ba = 6") == split_name("ab = 6") == ("ab", "6")
    assert split_name("x = 2+3 = 5") == ("", "x = 2+3 = 5")
    assert split_name("x < 5") == ("", "x < 5")


def test_units_are_split_off_the_longest_first() -> None:
    assert list(unit_splits("2\\pi square feet")) == [
        ("2\\pi", "ft^2", "square feet"),
        ("2\\pi square", "ft", "feet"),
    ]
    assert list(unit_splits("\\sqrt{3}cm")) == [("\\sqrt{3}", "cm", "cm")]
    assert list(unit_splits("2x")) == []


def test_plus_minus_stands_for_two_texts() -> None:
    assert both_signs("\\pm 2") == [" 2", "- 2"]
    assert both_signs("1 \\mp x +- y") == ["1 - x + y", "1 + x - y"]
    assert both_signs("1 - x") == ["1 - x"]
