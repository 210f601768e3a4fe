"""Answers in words, which must be the same words."""

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision
from sftkey_eval.extraction.bare_answers import find_bare_words
from sftkey_eval.extraction.sentences import whole_sentence
from sftkey_eval.grading.plain_rules import same_words, says_something
from sftkey_eval.policy import Policy


def _different_text(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001 - a rule's signature
    return Decision("wrong", "different_text")


TEXT = AnswerKind(
    name="text",
    usable=says_something,
    rules=(same_words, _different_text),
    read_sentence=whole_sentence,
    find_last=find_bare_words,
)
