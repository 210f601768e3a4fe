"""Answers in mathematics: numbers, expressions, tuples, intervals, sets, equations, matrices."""

from itertools import islice

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.bare_answers import find_bare_mathematics, find_bare_number
from sftkey_eval.extraction.stated_values import stated_mathematics
from sftkey_eval.extraction.value_sentences import find_last_number, is_denied_value, mathematics_in, widen_value
from sftkey_eval.grading.exact_rules import EXACT_RULES, same_subject
from sftkey_eval.grading.plain_rules import (
    bounded,
    hedged,
    same_elements,
    same_numbers,
    same_plain_words,
    same_symbols,
    says_something,
)
from sftkey_eval.policy import Policy
from sftkey_eval.symbolic.symbolic_rule import same_expression


def _same_expression(gold: Answer, predicted: Answer, policy: Policy) -> Decision:
    return Decision(*same_expression(gold, predicted, policy))


def _find_last(tail: str, choices: Choices | None) -> Found | None:
    r"""All of a bare formula; the last value a text states, as a whole: `\(\frac{3}{4}\)`, not its 4; a last number."""
    if (bare := find_bare_number(tail) or find_bare_mathematics(tail)) is not None:
        return bare
    for value in islice(stated_mathematics(tail), MAX_DENIED):
        start = tail.rfind(value)
        if start < 0:
            break  # a value that was put together stands nowhere
        if not is_denied_value(tail, start):
            wider, end = widen_value(tail, start, start + len(value))
            return tail[wider:end].strip(), "last_number", wider
    return find_last_number(tail, choices)


MAX_DENIED = 8  # values passed over, as `It is not 5` denies them


def _cot_value(tail: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as the kind asks for it
    return next(stated_mathematics(tail), None)


MATH = AnswerKind(
    name="math",
    usable=says_something,
    rules=(
        same_symbols,
        hedged,
        same_numbers,
        bounded,
        same_subject,
        same_plain_words,
        same_elements,
        *EXACT_RULES,
        _same_expression,
    ),
    read_sentence=mathematics_in,
    find_last=_find_last,
    find_cot_value=_cot_value,
    stated_values=stated_mathematics,
    none_is_an_answer=False,
    in_english=True,
    second_opinion=True,
)
