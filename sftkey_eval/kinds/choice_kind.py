"""Answers that name one of several options by its letter, its text or its number."""

import re

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.decision import Decision, decide
from sftkey_eval.answers.markup import fold, plain, strip_markup
from sftkey_eval.answers.option_letters import Choices, find_options, letter_of_value, read_options
from sftkey_eval.extraction.option_sentences import last_option, option_in
from sftkey_eval.extraction.sentences import MAX_ANSWER_LINE
from sftkey_eval.extraction.stated_values import after_is, finished, last_side, sentences
from sftkey_eval.grading.plain_rules import MAX_ANSWER_CHARS, says_something
from sftkey_eval.policy import Policy


def _usable(gold: Answer) -> bool:
    return says_something(gold) and len(gold.text) <= MAX_ANSWER_CHARS and len(gold.letters) == 1


def _same_option(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001 - a rule's signature
    if len(predicted.letters) > 1:
        return Decision("wrong", "hedged")
    return decide(predicted.letters == gold.letters, "option") if predicted.letters else Decision("wrong", "no_option")


def _names_option(answer: str, choices: Choices | None) -> bool:
    return bool(read_options(answer, choices))


def _find_last(tail: str, choices: Choices | None) -> Found | None:
    whole = tail.strip()
    if len(whole) <= MAX_ANSWER_LINE and not _JUDGED.search(whole) and read_options(whole, choices):
        return whole, "last_option", 0
    last = last_option(tail, choices)
    return (last[0], "last_option", last[1]) if last else None


_JUDGED = re.compile(r"\b(?:is|are|was|wrong|right|true|false|correct|incorrect)\b", re.IGNORECASE)


def _as_letter(text: str, choices: Choices | None) -> str:
    letters = read_options(text, choices)
    return letters[0] if len(letters) == 1 else text


def _cot_value(tail: str, choices: Choices | None) -> str | None:
    """The letter of the option named, or of the one option whose text or number is stated, whichever comes last.

    Where two are named together (`(C) and (F)`) none.
    """
    text = finished(tail)
    named = [found for found in find_options(text, choices) if _is_mention(text, found[0])]
    position, letter = named[-1] if named else (-1, None)
    if letter and (other := _TOGETHER.search(text[max(0, position - 20) : position])) and other[1] != letter:
        letter = None
    if choices is None or not choices.texts:
        return letter
    sentence = next(sentences(text), "")
    later = text.rfind(sentence) > position
    return _choice_at_end(text, choices) or (_equated(sentence, choices) if later else None) or letter


_TOGETHER = re.compile(r"\b([A-Z])\)?(?:\s*[,/&]\s*|\s+)(?:and|or)?\s*\Z")


def _is_mention(text: str, position: int) -> bool:
    """`P(C)` and `copper(I)` name no option, nor does the unit in `4.5 J`."""
    before = text[max(0, position - 5) : position]
    return not (before[-1:].isalnum() if text[position] == "(" else before.rstrip("\\ $~")[-1:] in _DIGITS)


_DIGITS = frozenset("0123456789}")


def _equated(sentence: str, choices: Choices) -> str | None:
    """The option that a sentence computes, or names after `is`."""
    side, rest = last_side(sentence)
    number = _MEASURED.sub("", side)
    texts = [*after_is(rest, _NAMES), side, number]
    letters = [letter for text in texts if (letter := letter_of_value(text, choices))]
    return letters[0] if letters and not _NEGATION.search(rest) else None


_NAMES = re.compile(r"\b(?:is|are|be)\s+")
_MEASURED = re.compile(r"(?<=[\d}])\s+[A-Za-z]{1,3}(?:/[A-Za-z]{1,3})?\Z")  # a unit that the grader may not know
_NEGATION = re.compile(r"\b(?:not|cannot|no|never|nor)\b|n't\b", re.IGNORECASE)


_WHOLE = r"(?<![\w.,)\]}^/*-])"  # `x` does not end `2x`


def _choice_at_end(text: str, choices: Choices) -> str | None:
    """The one option whose text ends the CoT; of two that do, the longer one (`red` and `dark red`)."""
    end = fold(plain(strip_markup(text[-1_000:])))
    ending = [
        (len(wanted), letter)
        for letter, wanted in zip(choices.letters, choices.folded, strict=False)
        if wanted and re.search(rf"{_WHOLE}{re.escape(wanted)}$", end)
    ]
    ending.sort(reverse=True)
    if not ending or (len(ending) > 1 and ending[0][0] == ending[1][0]):
        return None
    last_sentence = re.split(r"[.!?]\s", end[: len(end) - ending[0][0]])[-1]
    return None if _NEGATION.search(last_sentence) else ending[0][1]


CHOICE = AnswerKind(
    name="choice",
    usable=_usable,
    rules=(_same_option,),
    read_sentence=option_in,
    find_last=_find_last,
    find_cot_value=_cot_value,
    may_be_boxed=_names_option,
    finish=_as_letter,
    other_marks=frozenset({"A:"}),  # `A: 12` lists an option
    none_is_an_answer=False,
    in_english=True,
)
