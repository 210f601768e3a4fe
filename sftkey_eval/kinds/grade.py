"""Comparing two texts by the name of their answer type."""

from collections.abc import Sequence

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.grading.ladder import compare_answers
from sftkey_eval.kinds.kind_table import find_kind
from sftkey_eval.policy import DEFAULT_POLICY, Policy


def grade(
    gold: str | None,
    predicted: str | None,
    answer_type: str,
    *,
    choices: Sequence[str] | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> Decision:
    """Compare a predicted with a gold answer; whether an item is scored depends on the gold alone.

    Args:
        gold: The trusted answer.
        predicted: The extracted answer; None where there is none.
        answer_type: Picks the rules.
        choices: Option texts in the order A, B, C, …, for type `choice`.
        policy: What counts as equal.

    Raises:
        SFTKeyError: No such answer type. No text raises.
    """
    known = Choices.of(choices)
    return compare_answers(Answer.of(gold, known), Answer.of(predicted, known), find_kind(answer_type), policy)


def is_usable(gold: str, answer_type: str, choices: Sequence[str] | None = None) -> bool:
    """Whether a gold can decide anything: not empty, and of its type."""
    return find_kind(answer_type).usable(Answer.of(gold, choices))
