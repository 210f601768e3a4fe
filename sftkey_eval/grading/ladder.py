"""Is the predicted answer the gold answer: a verdict, and the rule that decided.

A rule is a plain function `(gold, predicted, policy) -> Decision | None`; None passes the question on. The rules of an
answer type run in order, cheapest first. Text of a model is only ever compared, never evaluated.
"""

import re

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision
from sftkey_eval.grading.plain_rules import MAX_ANSWER_CHARS
from sftkey_eval.policy import DEFAULT_POLICY, Policy


def compare_answers(gold: Answer, predicted: Answer, kind: AnswerKind, policy: Policy = DEFAULT_POLICY) -> Decision:
    """The verdict on an answer, by the ladder of its kind. Never raises on any text.

    What was read from either answer is kept in it: a gold that several answers are compared with is read once.
    """
    if not gold.read(kind.usable):
        return Decision("unscored", "unusable_gold" if gold.text else "empty_gold")
    if max(len(gold.text), len(predicted.text)) > MAX_ANSWER_CHARS:
        return Decision("correct", "same_text") if gold.text == predicted.text else Decision("undecided", "too_long")
    if not predicted.stripped or (_SILENT.fullmatch(predicted.stripped) and not _SILENT.fullmatch(gold.text)):
        return Decision("wrong", "no_answer")
    for rule in kind.rules:
        if decision := rule(gold, predicted, policy):
            return decision
    return Decision("undecided", "no_rule")


_SILENT = re.compile(r"[\s?!.,;:_…]+")  # a question mark, a blank to fill in
