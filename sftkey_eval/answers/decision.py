"""What a rule of the ladder says: a verdict and the rule's name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sftkey_eval.answers.answer import Answer
from sftkey_eval.policy import Policy

Ruling = Literal["correct", "wrong", "undecided", "unscored"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the name of the rule that decided it; `unscored` where the gold is empty or unusable."""

    verdict: Ruling
    rule: str


Rule = Callable[[Answer, Answer, Policy], Decision | None]
"""`(gold, predicted, policy)`; None passes the question on."""


def decide(equal: bool, rule: str) -> Decision:
    """Correct or wrong, by a named rule."""
    return Decision("correct" if equal else "wrong", rule)
