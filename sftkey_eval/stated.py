r"""The values a CoT states, last one first: what the analysis of slips compares with the gold.

A value is stated by a box, after the last `=` of a sentence, after `is` or `are`, or is the last number of a sentence.
The sentence that a CoT breaks off in announces the Key (`Thus, the value of f(3) is`) and states nothing. A text is cut
into sentences once, so the cost is linear.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from sftkey_data.boxes import find_boxes
from sftkey_data.extract import AnswerType
from sftkey_eval.lenient import MAX_MARKS, MAX_TAIL, find_marked
from sftkey_eval.markup import fold, plain, strip_markup
from sftkey_eval.numbers import find_numbers
from sftkey_eval.options import LETTERS, find_options, find_truths, letter_of_value
from sftkey_eval.sentences import MAX_ANSWER_LINE, read_answer
from sftkey_eval.sequences import read_elements

MAX_CHECKED = 8
"""Sentences before a check that are looked at for the value it checks."""


def find_cot_value(cot: str, answer_type: AnswerType, choices: Sequence[str] | None = None) -> str | None:
    """The last value a CoT states, None where it states none.

    For choices the letter of the option named, or of the one option whose text or number is stated, whichever comes
    last; where two are named together (`(C) and (F)`) none. For yes/no the last of these words. For words and lists
    what the CoT marks as its answer.
    """
    tail = cot[-MAX_TAIL:]
    if answer_type == "choice":
        return _last_choice(_finished(tail), choices)
    if answer_type == "boolean":
        return next((found.group() for found in reversed(list(find_truths(tail)))), None)
    if answer_type in ("text", "list"):
        marked = find_marked(tail, answer_type, choices)
        return marked[0] or None if marked else None
    return next(_values(tail, answer_type), None)


def is_several(value: str) -> bool:
    """Whether a value lists several, as `-2, 1, 6` does: nothing is said then of one of them alone."""
    elements = read_elements(value)
    return elements is not None and len(elements.parts) > 1 and not elements.ordered


def find_checked_values(cot: str, answer_type: AnswerType) -> list[str]:
    """The values right before a check that ends a CoT: `x = 2. To check, 2^3 = 8` states 8 last, but reached 2."""
    if answer_type not in ("number", "math"):
        return []
    tail = cot[-MAX_TAIL:]
    if not _CHECK.search(tail[-_MAX_CHECK_CHARS:]):
        return []
    return list(islice(_values(tail, answer_type), 1, MAX_CHECKED))


_MAX_CHECK_CHARS = 1_000
_MAX_ANNOUNCED = 200  # code points at the end of a sentence that show that it breaks off
_CHECK = re.compile(r"\b(?:check|verif|confirm|valid|satisf|plug|substitut)", re.IGNORECASE)

_SENTENCE = re.compile(r"\n+|(?<=[^\s.!?])[.!?](?=\s|\Z)|;(?=\s)")
# GSM8K's calculator marks, and remarks that explain a step.
_ASIDE = re.compile(r"<<[^<>\n]{0,200}>>|\((?:since|as|because|using|by)\b[^()\n]{0,200}\)")
_LABEL = re.compile(
    r"^[ \t]{0,9}(?:(?:[-*•#>]{1,6}[ \t]+|\d{1,2}[.)][ \t]+|[*_]{2}|(?:step|case|part)[ \t]+\d{1,2}\b[.:)]?[ \t]*))+",
    re.IGNORECASE | re.MULTILINE,
)
_UNFINISHED = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|indeed|exactly|only|about|approximately|of|to|by|as|at|and|or|the|an?|than|get"
    r"|gets|obtain|have|has|gives?|costs?|earns?|makes?|in|for|with|therefore|thus|so|hence)|[:=])[\s*_:,$\\(\[{]*\Z"
)


def _sentences(text: str) -> Iterator[str]:
    """Sentences and lines, last one first; neither questions nor the one in which the text breaks off."""
    text = _LABEL.sub("", _ASIDE.sub("", text))
    end, ends_with, first = len(text), "", True
    borders = [(found.start(), found.end()) for found in _SENTENCE.finditer(text)]
    for border, start in [*reversed(borders), (-1, 0)]:
        sentence, ended = text[start:end], ends_with
        end, ends_with = max(border, 0), text[border] if border >= 0 else ""
        if not any(character.isalnum() for character in sentence):
            continue
        breaks_off = first and ended not in (".", "!") and _UNFINISHED.search(sentence[-_MAX_ANNOUNCED:])
        if ended != "?" and not breaks_off:
            yield sentence
        first = False


def _finished(text: str) -> str:
    """The text less the sentence in which it breaks off."""
    whole = text.rstrip()
    if not _UNFINISHED.search(whole[-_MAX_ANNOUNCED:]):
        return text
    borders = [border.end() for border in _SENTENCE.finditer(whole)]
    return text[: borders[-1]] if borders else ""


def _values(text: str, answer_type: AnswerType) -> Iterator[str]:
    for sentence in _sentences(text):
        if value := _stated(sentence, answer_type):
            yield value


# What follows must be the value: "there are 3 such primes", not "the first term that is greater than 125".
_FILLERS = r"(?:(?:indeed|exactly|only|just|about|approximately|equal\s+to|then|thus|therefore|now|also)\s+){0,3}"
_IS = re.compile(
    rf"\b(?:is|are|was|were|be)\b:?\s+{_FILLERS}(?=[\d$€£\\(\[{{+\-−.])|####\s*|\banswer:\s*(?=[\d$\\(\[{{+\-−.])",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"\b(?:is|are|was|be)\s+(?:an?\s+|the\s+)?(?!(?:\w+ed|correct|right|valid|true|clear|same|possible)\b)"
    r"([A-Za-z]{3,})\W*\Z"
)
_SEGMENT = re.compile(r"\$([^$\n]{1,200})\$|\\\((.{1,200}?)\\\)")
_LISTED = re.compile(r"[\s,]*(?:and|or)?[\s,]*")


def _stated(sentence: str, answer_type: AnswerType) -> str | None:
    """The value of one sentence, None where it states none."""
    if boxes := find_boxes(sentence):
        return sentence[boxes[-1].content_start : boxes[-1].content_end].strip() or None
    value = _stated_math(sentence) if answer_type == "math" else _stated_number(sentence)
    return value if value and value.count("{") == value.count("}") else None


def _stated_number(sentence: str) -> str | None:
    side, rest = _last_side(sentence)
    for text in _after_is(rest):
        if value := _first_number(text):
            return value
    return _first_number(side) or _last_number(sentence)


def _stated_math(sentence: str) -> str | None:
    if listed := _listed(sentence):
        return listed
    side, rest = _last_side(sentence)
    for text in _after_is(rest):
        if value := _formula(text):
            return value
    if side:
        return _formula(side)
    if segments := _SEGMENT.findall(sentence):
        return "".join(segments[-1]).strip()
    word = _WORD.search(sentence)
    return word.group(1) if word else _last_number(sentence)


def _after_is(text: str, mark: re.Pattern[str] = _IS) -> Iterator[str]:
    """What follows each `is`, the last one first."""
    for found in reversed(deque(mark.finditer(text), maxlen=MAX_MARKS)):
        yield text[found.end() : found.end() + MAX_ANSWER_LINE]


def _listed(sentence: str) -> str | None:
    r"""Several formulas in a row, as `\(x = 5\), \(x = 7\) and \(x = 3\)`, without their variables."""
    run: list[re.Match[str]] = []
    for found in reversed(list(_SEGMENT.finditer(sentence))):
        if run and not _LISTED.fullmatch(sentence, found.end(), run[0].start()):
            break
        run.insert(0, found)
    values = ["".join(found.groups("")).rpartition("=")[2].strip(" ,") for found in run]
    return ", ".join(values) if len(values) > 1 else None


def _formula(text: str) -> str | None:
    """What a text says at its beginning: a formula, or the number that words follow."""
    if segment := _SEGMENT.match(text.lstrip()):
        text = segment.group(1) or segment.group(2)
    text = strip_markup(text[: _side_end(text)])
    value = read_answer(text, "math")
    return value if value and any(character.isalnum() for character in value) else None


_ORDINAL = re.compile(r"(?<![\w.])\d{1,9}(?=(?:st|nd|rd|th)\b)")


def _first_number(text: str) -> str | None:
    found = next(find_numbers(text), None) or _ORDINAL.search(text)
    return found.group().strip() if found else None


def _last_number(text: str) -> str | None:
    return next((found.group().strip() for found in reversed(list(find_numbers(text)))), None)


_EQUALS = re.compile(r"(?<![!<>:])=|\\equiv\b|≡")


def _last_side(sentence: str) -> tuple[str, str]:
    """The right-hand side of the last equation, and what follows it; the whole sentence follows where there is none."""
    equations = list(_EQUALS.finditer(sentence))
    if not equations:
        return "", sentence
    side = sentence[equations[-1].end() :]
    end = _side_end(side)
    return side[:end].strip(), side[end:]


_CURRENCY = re.compile(r"\s*(?:\\?\$\s?(?=[\d.+−-]))?")
_SIDE_END = re.compile(
    r"(?P<open>\\left\s*[(\[]|[({\[])|(?P<close>\\right\s*[)\]]|[)}\]])"
    r"|(?P<math>\$|\\[)\]])"
    r"|\n|[.;](?=\s|$)|,(?=\s|$)(?!\s*[-+−]?\s?(?:\d|\\[dt]?frac|\\sqrt))"  # `-2, 1, 6` is one value
    r"|\\(?:quad|implies|neq?|approx|equiv|leq?|geq?|[bp]?mod|Rightarrow|rightarrow|text)\b|[<>≈≠&]|\\\\"
)


def _side_end(text: str) -> int:
    """Where a formula ends: with the mathematics, at a relation, or at punctuation outside brackets."""
    depth, currency = 0, _CURRENCY.match(text)
    for found in _SIDE_END.finditer(text, currency.end() if currency else 0):
        if found["open"]:
            depth += 1
        elif found["close"]:
            depth = max(0, depth - 1)
        elif depth == 0 or found["math"]:
            return found.start()
    return len(text)


def _last_choice(text: str, choices: Sequence[str] | None) -> str | None:
    named = [found for found in find_options(text, choices) if _is_mention(text, found[0])]
    position, letter = named[-1] if named else (-1, None)
    if letter and (other := _TOGETHER.search(text[max(0, position - 20) : position])) and other[1] != letter:
        letter = None
    if not choices:
        return letter
    sentence = next(_sentences(text), "")
    later = text.rfind(sentence) > position
    return _choice_at_end(text, choices) or (_equated(sentence, choices) if later else None) or letter


_TOGETHER = re.compile(r"\b([A-Z])\)?(?:\s*[,/&]\s*|\s+)(?:and|or)?\s*\Z")


def _is_mention(text: str, position: int) -> bool:
    """`P(C)` and `copper(I)` name no option, nor does the unit in `4.5 J`."""
    before = text[max(0, position - 5) : position]
    return not (before[-1:].isalnum() if text[position] == "(" else before.rstrip("\\ $~")[-1:] in _DIGITS)


_DIGITS = frozenset("0123456789}")


def _equated(sentence: str, choices: Sequence[str]) -> str | None:
    """The option that a sentence computes, or names after `is`."""
    side, rest = _last_side(sentence)
    number = _MEASURED.sub("", side)
    texts = [*_after_is(rest, _NAMES), side, number]
    letters = [letter for text in texts if (letter := letter_of_value(text, choices))]
    return letters[0] if letters and not _NEGATION.search(rest) else None


_NAMES = re.compile(r"\b(?:is|are|be)\s+")
_MEASURED = re.compile(r"(?<=[\d}])\s+[A-Za-z]{1,3}(?:/[A-Za-z]{1,3})?\Z")  # a unit that the grader may not know
_NEGATION = re.compile(r"\b(?:not|cannot|no|never|nor)\b|n't\b", re.IGNORECASE)


_WHOLE = r"(?<![\w.,)\]}^/*-])"  # `x` does not end `2x`


def _choice_at_end(text: str, choices: Sequence[str]) -> str | None:
    """The one option whose text ends the CoT; of two that do, the longer one (`red` and `dark red`)."""
    end = fold(plain(strip_markup(text[-1_000:])))
    ending = [
        (len(wanted), letter)
        for letter, choice in zip(LETTERS, choices, strict=False)
        if (wanted := fold(plain(strip_markup(choice)))) and re.search(rf"{_WHOLE}{re.escape(wanted)}$", end)
    ]
    ending.sort(reverse=True)
    if not ending or (len(ending) > 1 and ending[0][0] == ending[1][0]):
        return None
    last_sentence = re.split(r"[.!?]\s", end[: len(end) - ending[0][0]])[-1]
    return None if _NEGATION.search(last_sentence) else ending[0][1]
