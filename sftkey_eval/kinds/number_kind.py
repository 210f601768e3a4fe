"""Answers that are one number, in digits or in words."""

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.bare_answers import find_bare_number
from sftkey_eval.extraction.stated_values import stated_numbers
from sftkey_eval.extraction.value_sentences import find_last_number, number_in
from sftkey_eval.grading.plain_rules import bounded, hedged, same_numbers, same_symbols, says_something
from sftkey_eval.policy import Policy


def _usable(gold: Answer) -> bool:
    return says_something(gold) and gold.number is not None


def _not_a_number(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001 - a rule's signature
    return Decision("wrong", "not_a_number")


def _cot_value(tail: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as the kind asks for it
    return next(stated_numbers(tail), None)


def _find_last(tail: str, choices: Choices | None) -> Found | None:
    return find_bare_number(tail) or find_last_number(tail, choices)


NUMBER = AnswerKind(
    name="number",
    usable=_usable,
    rules=(same_symbols, hedged, same_numbers, bounded, _not_a_number),
    read_sentence=number_in,
    find_last=_find_last,
    find_cot_value=_cot_value,
    stated_values=stated_numbers,
    none_is_an_answer=False,
    in_english=True,
    second_opinion=True,
)
