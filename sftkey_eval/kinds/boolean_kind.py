"""Answers that are yes or no, true or false."""

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.decision import Decision, decide
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.truth_sentences import last_truth, truth_in
from sftkey_eval.grading.plain_rules import MAX_ANSWER_CHARS, says_something
from sftkey_eval.policy import Policy


def _usable(gold: Answer) -> bool:
    return says_something(gold) and len(gold.text) <= MAX_ANSWER_CHARS and gold.truth is not None


def _same_truth(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001 - a rule's signature
    if predicted.truth is None:
        return Decision("wrong", "not_a_boolean")
    return decide(gold.truth == predicted.truth, "boolean")


def _read_sentence(sentence: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as the kind asks for it
    return truth_in(sentence)


def _find_last(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001
    last = last_truth(tail)
    return (last[0], "last_option", last[1]) if last else None


def _cot_value(tail: str, choices: Choices | None) -> str | None:
    last = _find_last(tail, choices)
    return last[0] if last else None


BOOLEAN = AnswerKind(
    name="boolean",
    usable=_usable,
    rules=(_same_truth,),
    read_sentence=_read_sentence,
    find_last=_find_last,
    find_cot_value=_cot_value,
    none_is_an_answer=False,
    in_english=True,
)
