"""Which value a sentence gives, and all that belongs to it: `at least 7`, `5 or maybe 6` and `4 hours 30 minutes`.

A sentence that is read only in part is not an answer: what hedges, bounds or continues a number stays with it, and the
rules that compare answers find no number in that.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from sftkey_eval.answers.answer_kind import Found
from sftkey_eval.answers.compounds import match_compound
from sftkey_eval.answers.number_words import split_number_words
from sftkey_eval.answers.numbers import find_numbers, read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.answers.units import SCALES, read_unit
from sftkey_eval.extraction.sentences import FILLERS, MAX_ANSWER_LINE, OR

_Numbers = Sequence[re.Match[str]]

_MAX_BEFORE = 60  # code points before a number that say what is made of it
_SMALL_WORDS = r"(?:(?:be|equal\s+to|exactly|really|simply|just|the|an?|answer|number|value|is|it)\s+){0,3}"
_QUOTES = r"[\s$*_(\\\"']{0,8}"
_DENIES = re.compile(
    rf"(?:\b(?:not|cannot|never|neither|nor|rather\s+than|instead\s+of|unlike)|n['’]t)\s+{_SMALL_WORDS}{_QUOTES}\Z",
    re.IGNORECASE,
)
_BOUND = re.compile(
    r"(?:\b(?:at\s+(?:least|most)|(?:no|not)\s+(?:more|less|fewer|greater|larger)\s+than"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than|up\s+to|between|anywhere\s+from)"
    rf"|(?<![<>=−-])[<>]|[≤≥≠]|\\(?:geq?|leq?|neq?|gt|lt)\b)\s*{_SMALL_WORDS}{_QUOTES}\Z",
    re.IGNORECASE,
)
_FUNCTION = re.compile(
    rf"\b(?:(?:square|cube)\s+root|half|multiples?|sum|product|(?:twice|double))\s+(?:of\s+)?{_SMALL_WORDS}{_QUOTES}\Z",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+\Z", re.IGNORECASE)
_EXCEPTION = re.compile(
    r"\b(?:except|excluding|other\s+than|apart\s+from|aside\s+from|(?:all|every|any)(?:\s\w{1,12}){0,2}\sbut)\b|\\setminus\b",
    re.IGNORECASE,
)
_HEDGING_WORDS = (
    r"(?:(?:maybe|perhaps|possibly|probably|even|about|around|else|also|it|that|is|are|could|may|might|can|be|equals?|if"
    r"|alternatively)\b[^\w\n]{1,3}){0,6}"
)
_FEW_WORDS = r"(?:[^\W\d]{1,12}[^\w\n]{1,3}){0,2}"
_OR = re.compile(rf"[^\w\n]{{0,6}}{_FEW_WORDS}or\b[^\w\n]{{0,6}}{_HEDGING_WORDS}[$(\\]{{0,3}}")
_AND = re.compile(rf"[^\w\n]{{0,3}}{_FEW_WORDS}(?:and|&|plus|minus|times|by)\b[^\w\n]{{0,3}}")
_TO = re.compile(r"\s(?:to|through)\s[$(\\]{0,3}")
_LIST = re.compile(r"\s?[,;]\s[$(\\]{0,3}")
_LIST_GOES_ON = re.compile(r"[)$\s]*(?:\Z|[,;]|and\b|or\b)")
_MAYBE = re.compile(r"[\s,;(]{1,3}(?:maybe|perhaps|possibly|alternatively)\s[$(\\]{0,3}", re.IGNORECASE)
_UNREAD_UNIT = re.compile(r"\s?(?:[A-Za-z]{1,9}\.?\s|[°'’′]\s?)")  # `6 ft 2`
_OPERATOR = re.compile(
    r"\s?(?:[-−–+*/×·⋅^!]|\\(?:times|cdot|pm|div)\b|(?:x|plus|minus|times|divided\s+by|over|choose|mod(?:ulo)?)\s|[:~](?=\d))\s?(?=[\w\\($])"
    r"|\\(?:sqrt|pi|d?frac|left|log|ln|sin|cos|tan)\b|[π√]"
    r"|\s?(?:%|percent|percentage)?\s?of\s+(?:the\s+)?\d|\s(?:squared|cubed|factorial)\b",
    re.IGNORECASE,
)
_DASH = re.compile(r"\s?[-−–]\s?(?=[A-Za-z]{2})")  # `5 - as we saw`, `10-sided`
_EQUATIONS = re.compile(
    r"[A-Za-z]\s?=\s?[^=,;]{1,30}?(?:,|;|\band\b|\bor\b)[\s$\\()]{0,6}(?:(?:and|or)\s)?[\s$\\(]{0,6}[A-Za-z]\s?="
)


def number_in(sentence: str, choices: Choices | None = None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The number a sentence gives, with what hedges or bounds it; empty where the sentence only denies numbers."""
    sentence = _without_reason(sentence)
    if read_number(sentence) is not None or is_worded(sentence):
        return sentence
    if _EXCEPTION.search(sentence) or _EQUATIONS.search(sentence):
        return sentence  # a set, or several values: no number
    side = sentence.rpartition("=")[2]
    numbers = list(find_numbers(side)) or list(find_numbers(sentence))
    if not numbers:
        return None
    index = next((index for index in range(len(numbers)) if not _is_denied(numbers, index)), None)
    if index is None:
        return ""
    first = numbers[index]
    text, start = first.string, first.start()
    if _NEGATIVE.search(text, max(0, start - _MAX_BEFORE), start) and text[start].isdigit():
        return f"-{first.group().strip()}"
    end = _end_of_several(numbers, index)
    if end == first.end():
        end = _end_of_one(text, start, end)
    function = _FUNCTION.search(text, max(0, start - _MAX_BEFORE), start)
    return text[function.start() if function else _start_with_bound(text, start) : end].strip()


def find_last_number(tail: str, choices: Choices | None) -> Found | None:  # noqa: ARG001 - as a kind asks for it
    """The last number of a text that is not denied, with the one it is hedged with: `3 or 4`."""
    numbers = list(find_numbers(tail))
    index = next((index for index in reversed(range(len(numbers))) if not _is_denied(numbers, index)), None)
    if index is None:
        return None
    start, end = widen_value(tail, *numbers[index].span())
    if end - start >= MAX_ANSWER_LINE:
        return None  # digits without end
    return tail[start:end].strip(), "last_number", start


def is_denied_value(text: str, start: int) -> bool:
    """Whether the words before a value deny it: `it is not 5`."""
    return _DENIES.search(text, max(0, start - _MAX_BEFORE), start) is not None


def _widen(text: str, start: int, end: int, before: _Numbers) -> tuple[int, int]:
    for other in before:
        compound_end = match_compound(text, other.start())
        if compound_end is not None and compound_end >= end:
            return _start_with_bound(text, other.start()), compound_end
    if before and (_OR.fullmatch(text, before[-1].end(), start) or _is_between(text, before[-1], start)):
        return _start_with_bound(text, before[-1].start()), end
    return _start_with_bound(text, start), _end_with_scale(text, end)


def widen_value(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a value with what belongs to it: a bound, an exception, what it is hedged with, all its parts."""
    nearest = max(0, start - _MAX_BEFORE)
    excepted = _EXCEPTION.search(text, nearest, start)
    if excepted and "." not in text[excepted.end() : start]:
        return excepted.start(), end
    return _widen(text, start, end, list(find_numbers(text, nearest, start))[-2:])


def mathematics_in(sentence: str, choices: Choices | None = None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The mathematics a sentence gives: what is set as such, the number that words follow, or all of it."""
    sentence = _without_reason(sentence[found.end() :] if (found := _FILLED.match(sentence)) else sentence)
    if read_number(sentence) is not None or _EXCEPTION.search(sentence):
        return sentence or None
    if segments := list(_SEGMENT.finditer(sentence)):
        return _given_segments(sentence, segments)
    if denied := _DENIAL_AT_END.search(sentence) or _OR_SO.search(sentence):
        sentence = sentence[: denied.start()]
    wordy = len(_PLAIN_WORD.findall(sentence)) > 1
    if _DENIED_FIRST.match(sentence):
        return number_in(sentence) or ""
    if sentence[:1] in _BEGINS_NUMBER and (_PLAIN_WORD.search(sentence) or _REMARK.search(sentence)):
        wordy = True  # `18 (see step 3)`
    number = (_counted(sentence) or number_in(sentence)) if wordy else _worked_out(sentence)
    return sentence or None if number is None else number


def _without_reason(sentence: str) -> str:
    """`18` of `18 (since 3 x 6 = 18)` and of `18, because 2 + 16 = 18`."""
    reason = _REASON.search(sentence)
    value = sentence if reason is None else sentence[: reason.start()]
    return value if any(map(str.isalnum, value)) else sentence


_REASON = re.compile(r"\s{0,3}(?:[,(]\s{0,3}(?:since|as|because|given\sthat)|\b(?:since|because))\s", re.IGNORECASE)
_DENIED_FIRST = re.compile(r"(?:not|neither)\s", re.IGNORECASE)
_BEGINS_NUMBER = frozenset("0123456789$€£")
_REMARK = re.compile(r"\s[-–—]\s[a-z]{2}")
_FILLED = re.compile(FILLERS, re.IGNORECASE)
_SEGMENT = re.compile(r"(?<!\\)\$((?:[^$\\]|\\.){1,200})\$|\\\((.{1,200}?)\\\)", re.DOTALL)
# No name of an environment; and other scripts but Greek.
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])(?<!\\begin\{)(?<!\\end\{)[A-Za-z]{4,}|[\u0400-\u1fff\u3040-\ud7af]")
_DENIAL_AT_END = re.compile(r"[\s,(]{1,3}(?:and\s)?(?:is\s)?(?:not|rather\s+than|instead\s+of)\s[^=]{1,60}\Z")
_OR_SO = re.compile(r"\sor\sso\Z")
_BETWEEN_SEGMENTS = re.compile(r"[\s,;]{0,4}(?:(?:and|or)\b)?\s{0,3}")
_IS_SEGMENT = re.compile(r"\b(?:is|are|equals?|be)\s{1,3}\Z", re.IGNORECASE)


def _given_segments(sentence: str, segments: _Numbers) -> str | None:
    """One segment, several that stand together, or all of a sentence that says something else of them."""
    first = segments[0].start()
    texts = [found[1] or found[2] for found in segments]
    if _BOUND.search(sentence, max(0, first - _MAX_BEFORE), first):
        return sentence
    if _DENIES.search(sentence, max(0, first - _MAX_BEFORE), first):
        return "".join(texts[1:2])
    if OR.search(sentence):
        return " or ".join(texts) if len(texts) > 1 else sentence
    texts = [_worked_out(text) or text for text in texts]
    gaps = [sentence[a.end() : b.start()] for a, b in pairwise(segments)]
    if gaps and all(_BETWEEN_SEGMENTS.fullmatch(gap) for gap in gaps):
        return ", ".join(texts)
    named = [
        text for found, text in zip(segments, texts, strict=True) if _IS_SEGMENT.search(sentence, 0, found.start())
    ]
    return named[-1] if named else texts[0]


def _worked_out(sentence: str) -> str | None:
    """`8` in `5 + 3 = 8`, `-5` in `minus 5`."""
    if (negative := _NEGATIVE_NUMBER.fullmatch(sentence)) and read_number(negative[1]):
        return f"-{negative[1]}"
    left, _, right = sentence.rpartition("=")
    short = left and len(left) <= MAX_ANSWER_LINE
    return right.strip() if short and _SUM.fullmatch(left) and read_number(right) else None


_NEGATIVE_NUMBER = re.compile(r"(?:negative|minus)\s+(\d.*)", re.IGNORECASE)
_SUM = re.compile(r"(?:[\d\s+*/×·().,$=−-]|\\(?:times|cdot|[dt]?frac|\$)|[{}])*\d[\s)}]*")


def _counted(sentence: str) -> str | None:
    """`three` in `three boxes contain neither pens nor pencils`; `two acute angles` is no sentence."""
    value, rest = split_number_words(sentence)
    words = rest.split()
    if value is None or len(words) < MIN_PREDICATE or words[0].lower() == "of":
        return None
    return " ".join(re.split(r"[\s-]+", sentence)[: -len(words)])


MIN_PREDICATE = 3  # words behind a number word that make a sentence


def is_worded(sentence: str) -> bool:
    """`seven`, `twenty-five apples`."""
    value, rest = split_number_words(sentence) if sentence[:1].isalpha() else (None, "")
    return value is not None and read_unit(rest, spaced=True) is not None


def _is_denied(numbers: _Numbers, index: int) -> bool:
    """`not 5`, and the second one of `neither 5 nor 6` and `not 5 or 6`."""
    number = numbers[index]
    text, start = number.string, number.start()
    if _DENIES.search(text, max(0, start - _MAX_BEFORE), start):
        return True
    if index == 0 or not _OR.fullmatch(text, numbers[index - 1].end(), start):
        return False
    earlier = numbers[index - 1].start()
    return _DENIES.search(text, max(0, earlier - _MAX_BEFORE), earlier) is not None


def _is_between(text: str, first: re.Match[str], second: int) -> bool:
    start = first.start()
    bound = _BOUND.search(text, max(0, start - _MAX_BEFORE), start)
    return (
        bound is not None
        and "between" in bound.group().lower()
        and _AND.fullmatch(text, first.end(), second) is not None
    )


def _start_with_bound(text: str, start: int) -> int:
    bound = _BOUND.search(text, max(0, start - _MAX_BEFORE), start)
    return bound.start() if bound else start


def _end_of_several(numbers: _Numbers, index: int) -> int:
    """Where the last of the numbers ends that a sentence gives together; the end of the first where it gives one."""
    text = numbers[index].string
    end = match_compound(text, numbers[index].start())
    if end is not None:
        return end
    last = index
    while last + 1 < len(numbers):
        gap, following = numbers[last].end(), numbers[last + 1]
        joined = any(mark.fullmatch(text, gap, following.start()) for mark in (_OR, _AND, _TO, _MAYBE, _UNREAD_UNIT))
        listed = _LIST.fullmatch(text, gap, following.start()) and _LIST_GOES_ON.match(text, following.end())
        if not (joined or listed):
            break
        last += 1
    return numbers[last].end()


def _end_of_one(text: str, start: int, end: int) -> int:
    """The end of a number with its scale, of a sum that is not worked out to its last character."""
    if _OPERATOR.match(text, end) and not _DASH.match(text, end) and read_number(text[start:]) is None:
        return len(text)
    return _end_with_scale(text, end)


def _end_with_scale(text: str, end: int) -> int:
    word = _SCALE.match(text, end)
    return word.end() if word else end


_SCALE = re.compile(rf"\s(?:{'|'.join(SCALES)})s?\b", re.IGNORECASE)
