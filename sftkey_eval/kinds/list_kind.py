"""Answers that list words or numbers; the policy says whether their order counts."""

from collections import Counter
from fractions import Fraction

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision, decide
from sftkey_eval.answers.markup import plain
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.sequences import Elements, read_list
from sftkey_eval.extraction.bare_answers import find_bare_words
from sftkey_eval.extraction.sentences import whole_sentence
from sftkey_eval.grading.plain_rules import same_words, says_something, words_of
from sftkey_eval.policy import Policy


def _same_list(gold: Answer, predicted: Answer, policy: Policy) -> Decision:
    """Elements of two lists one by one, as numbers or as words."""
    left, right = gold.read(_listed), predicted.read(_listed)
    if left is None or right is None:
        return Decision("wrong", "list")
    golds, predicteds = ([_element(part, policy) for part in side.parts] for side in (left, right))
    in_order = policy.order == "keep" or "(" in left.brackets
    return decide(golds == predicteds if in_order else Counter(golds) == Counter(predicteds), "list")


def _listed(answer: Answer) -> Elements | None:
    return read_list(answer.stripped)


def _element(text: str, policy: Policy) -> Fraction | str:
    number = read_number(text)
    bare = number is not None and not (number.unit or number.percent or number.variable)
    return number.value if number and bare else words_of(plain(text), policy)


LIST = AnswerKind(
    name="list",
    usable=says_something,
    rules=(same_words, _same_list),
    read_sentence=whole_sentence,
    find_last=find_bare_words,
)
