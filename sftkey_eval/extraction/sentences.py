"""What a sentence such as `18 dollars, because …` gives as its answer."""

import re

from sftkey_eval.answers.answer_kind import Found
from sftkey_eval.answers.markup import strip_markup
from sftkey_eval.answers.number_words import split_number_words
from sftkey_eval.answers.numbers import find_numbers, read_number
from sftkey_eval.answers.option_letters import Choices

MAX_ANSWER_LINE = 300  # code points after a mark in which its answer must stand

OR = re.compile(r"\b(?:or|alternatively)\b")
FILLERS = (
    r"(?:(?:indeed|exactly|only|just|simply|about|approximately|equal\s+to|then|thus|therefore|now|also)[\s,]+){0,3}"
)
"""Words between `is` and the value."""
_FILLED = re.compile(FILLERS, re.IGNORECASE)
_LEADING = re.compile(r"[\s*_:>]{0,40}")
_EMPHASIS = re.compile(r"\*\*|__")
_SENTENCE_END = re.compile(
    r"(?:(?<=\w{3})|(?<=[\d)}\]$%*])|(?<=\d\s\w)|(?<=\d\s\w\w))[.!?]+(?=\s|$)|\n|</|<\||<(?=answer>|think)",
    re.IGNORECASE,
)


def sentence_after(text: str, start: int, *, same_line: bool) -> str:
    """What a mark announces: to the end of the sentence or line, without markup.

    Args:
        text: Running text.
        start: Where the mark ends.
        same_line: The answer must stand on the mark's own line.
    """
    leading = _LEADING.match(text, start)
    begin = start if leading is None or same_line else leading.end()
    rest = text[begin : begin + MAX_ANSWER_LINE]
    end = _SENTENCE_END.search(rest)
    return strip_markup(_EMPHASIS.sub("", rest[: end.start()] if end else rest))


def number_in(sentence: str, choices: Choices | None = None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The number a sentence gives: all of it, the last side of an equation, or the first number."""
    if read_number(sentence) is not None:
        return sentence
    last_side = sentence.rpartition("=")[2]
    numbers = list(find_numbers(last_side)) or list(find_numbers(sentence))
    if not numbers:
        return None
    first = numbers[0]
    if len(numbers) > 1 and HEDGE.fullmatch(first.string, first.end(), numbers[1].start()):
        return first.string[first.start() : numbers[1].end()]
    return first.group().strip()


HEDGE = re.compile(r"[^\w\n]{0,6}(?:\w{1,12}[^\w\n]{1,3})?or\b[^\w\n]{0,6}")


_MATH_SEGMENT = re.compile(r"\$([^$]{1,200})\$|\\\((.{1,200}?)\\\)")
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")


def mathematics_in(sentence: str, choices: Choices | None = None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The mathematics a sentence gives: what is set as such, the number that words follow, or all of it."""
    sentence = sentence[found.end() :] if (found := _FILLED.match(sentence)) else sentence
    if read_number(sentence) is not None:
        return sentence
    segments = [a or b for a, b in _MATH_SEGMENT.findall(sentence)]
    if segments:
        return " or ".join(segments) if OR.search(sentence) else segments[0]
    wordy = len(_PLAIN_WORD.findall(sentence)) > 1
    return ((number_in(sentence) or _counted(sentence)) if wordy else None) or sentence or None


def _counted(sentence: str) -> str | None:
    """`three` in `three boxes contain neither pens nor pencils`; `two acute angles` is no sentence."""
    value, rest = split_number_words(sentence)
    words = rest.split()
    if value is None or len(words) < MIN_PREDICATE or words[0].lower() == "of":
        return None
    return " ".join(re.split(r"[\s-]+", sentence)[: -len(words)])


MIN_PREDICATE = 3  # words behind a number word that make a sentence


def find_last_number(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001 - as a kind asks for it
    """The last number of a text, with the one it is hedged with: `3 or 4`."""
    numbers = list(find_numbers(tail))
    if not numbers:
        return None
    start, end = numbers[-1].span()
    if end - start >= MAX_ANSWER_LINE:
        return None  # digits without end
    if len(numbers) > 1 and HEDGE.fullmatch(tail, numbers[-2].end(), start):
        start = numbers[-2].start()
    return tail[start:end].strip(), "last_number", start


def whole_sentence(sentence: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The sentence, where it says anything."""
    return sentence or None


def find_only_marked(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001 - as a kind asks for it
    """Nothing: of an answer in words only a mark tells where it stands."""
    return None
