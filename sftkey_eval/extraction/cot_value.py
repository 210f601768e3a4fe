"""The last value a CoT states: what the analysis of slips compares with the gold."""

import re
from itertools import islice

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.markup import fold, plain, strip_markup
from sftkey_eval.answers.option_letters import Choices, find_options, find_truths, letter_of_value
from sftkey_eval.extraction.candidates import MAX_TAIL, find_marked
from sftkey_eval.extraction.stated_values import after_is, finished, last_side, sentences, stated_values

MAX_CHECKED = 8
"""Sentences before a check that are looked at for the value it checks."""


def find_cot_value(cot: str, answer_type: AnswerType, choices: Choices | None = None) -> str | None:
    """The last value a CoT states, None where it states none.

    For choices the letter of the option named, or of the one option whose text or number is stated, whichever comes
    last; where two are named together (`(C) and (F)`) none. For yes/no the last of these words. For words and lists
    what the CoT marks as its answer.
    """
    tail = cot[-MAX_TAIL:]
    if answer_type == "choice":
        return _last_choice(finished(tail), choices)
    if answer_type == "boolean":
        return next((found.group() for found in reversed(list(find_truths(tail)))), None)
    if answer_type in ("text", "list"):
        marked = find_marked(tail, answer_type, choices)
        return marked[0] or None if marked else None
    return next(stated_values(tail, answer_type), None)


def find_checked_values(cot: str, answer_type: AnswerType) -> list[str]:
    """The values right before a check that ends a CoT: `x = 2. To check, 2^3 = 8` states 8 last, but reached 2."""
    if answer_type not in ("number", "math"):
        return []
    tail = cot[-MAX_TAIL:]
    if not _CHECK.search(tail[-_MAX_CHECK_CHARS:]):
        return []
    return list(islice(stated_values(tail, answer_type), 1, MAX_CHECKED))


_MAX_CHECK_CHARS = 1_000
_CHECK = re.compile(r"\b(?:check|verif|confirm|valid|satisf|plug|substitut)", re.IGNORECASE)


def _last_choice(text: str, choices: Choices | None) -> str | None:
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
