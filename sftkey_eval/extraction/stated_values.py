r"""The values a text states, last one first.

A value is stated by a box, after the last `=` of a sentence, after `is` or `are`, or is the last number of a sentence.
The sentence in which a text breaks off announces something (`Thus, the value of f(3) is`) and states nothing. A text is
cut into sentences once, so the cost is linear.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator

from sftkey_data.format.boxes import find_boxes
from sftkey_eval.answers.markup import strip_markup
from sftkey_eval.answers.numbers import find_numbers, read_number
from sftkey_eval.answers.sequences import read_elements
from sftkey_eval.extraction.sentences import FILLERS, MAX_ANSWER_LINE
from sftkey_eval.extraction.value_sentences import mathematics_in

_MAX_IS = 20  # occurrences of `is` tried in a sentence
_FIRST_LINES = 500  # code points
_MAX_ANNOUNCED = 200  # code points at the end of a sentence that show that it breaks off

_SENTENCE = re.compile(r"\n+|(?<=[^\s.!?])[.!?](?=\s|\Z)|;(?=\s)")
# GSM8K's calculator marks, and remarks that explain a step.
_ASIDE = re.compile(r"<<[^<>\n]{0,200}>>|\((?:since|as|because|using|by)\b[^()\n]{0,200}\)")
_LABEL = re.compile(
    r"^[ \t]{0,9}(?:(?:[-*•#>]{1,6}[ \t]+|\d{1,2}[.)][ \t]+|[*_]{2}|(?:step|case|part)[ \t]+\d{1,2}\b[.:)]?[ \t]*))+",
    re.IGNORECASE | re.MULTILINE,
)
_UNFINISHED = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|indeed|exactly|only|about|approximately|of|to|by|as|at|and|or|the|an?|than|get"
    r"|gets|obtain|have|has|gives?|costs?|earns?|makes?|in|for|with|therefore|thus|so|hence)|[:=+/^-]"
    r"|\\(?:[dt]?frac|sqrt|times|cdot|left|begin|text|mathbf|mathrm))[\s*_:,$\\(\[{]*\Z"
)


def sentences(text: str) -> Iterator[str]:
    """Sentences and lines, last one first; no questions, announcements, nor the one in which the text breaks off."""
    first = True  # still in the sentence that ends the text
    for lines in _from_the_end(text):
        for sentence, ended in _sentences(_LABEL.sub("", _ASIDE.sub("", lines))):
            breaks_off = first and ended not in (".", "!") and _breaks_off(sentence)
            announces = sentence.rstrip("* \t").endswith(":")
            if ended != "?" and not breaks_off and not announces:
                yield sentence
            first = False


def _from_the_end(text: str) -> Iterator[str]:
    """Whole lines, last ones first, ever more of them: most readers stop after a sentence or two."""
    end, size = len(text), _FIRST_LINES
    while end > 0:
        start = text.rfind("\n", 0, max(0, end - size)) + 1
        yield text[start:end]
        end, size = start, 4 * size


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """Every sentence that says something and the character that ends it, last one first."""
    end, ends_with = len(text), ""
    borders = [(found.start(), found.end()) for found in _SENTENCE.finditer(text)]
    for border, start in [*reversed(borders), (-1, 0)]:
        sentence, ended = text[start:end], ends_with
        end, ends_with = max(border, 0), text[border] if border >= 0 else ""
        if any(map(str.isalnum, sentence)):
            yield sentence, ended


def _breaks_off(sentence: str) -> bool:
    """Whether a last sentence lacks its end: it waits for a value, or stops inside brackets."""
    # Round and square ones together, as `(3, 5]` has one of each.
    left_open = any(sum(map(sentence.count, a)) > sum(map(sentence.count, b)) for a, b in (("([", ")]"), ("{", "}")))
    return left_open or _UNFINISHED.search(sentence[-_MAX_ANNOUNCED:]) is not None


def finished(text: str) -> str:
    """The text less the sentence in which it breaks off."""
    whole = text.rstrip()
    if not _UNFINISHED.search(whole[-_MAX_ANNOUNCED:]):
        return text
    borders = [border.end() for border in _SENTENCE.finditer(whole)]
    return text[: borders[-1]] if borders else ""


def stated_numbers(text: str) -> Iterator[str]:
    """Every number a text states, last one first."""
    return _stated_values(text, _stated_number)


def stated_mathematics(text: str) -> Iterator[str]:
    """Every mathematical value a text states, last one first."""
    return _stated_values(_ANNOUNCED_DISPLAY.sub(r" \\(\1\\)", text), _stated_math)


# A formula with lines of its own that ends the sentence before it: `the domain is:`, then `\[`, `(0, 9)` and `\]`.
_ANNOUNCED_DISPLAY = re.compile(
    r"(?<=[^\s.!?])(?<!\\\])(?<!\$\$)[ \t]{0,4}\n\s{0,40}(?:\\\[|\$\$)\s{0,40}([^\n]{1,200}?)[\s.,]{0,40}(?:\\\]|\$\$)"
)


def _stated_values(text: str, read: Callable[[str], str | None]) -> Iterator[str]:
    silent: set[str] = set()  # a completion that goes round in circles says one sentence a thousand times
    for sentence in sentences(text):
        if sentence in silent:
            continue
        if value := _stated(sentence, read):
            yield value
        else:
            silent.add(sentence)


# What follows must be the value: "there are 3 such primes", not "the first term that is greater than 125".
_IS = re.compile(
    rf"\b(?:is|are|was|were|be)\b:?\s+{FILLERS}(?=[\d$€£\\(\[{{+\-−.])|####\s*|\banswer:\s*(?=[\d$\\(\[{{+\-−.])",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?<!\bthis )(?<!\bthat )(?<!\bit )\b(?:is|are|was|be)\s+(?:an?\s+|the\s+)?"
    r"(?!(?:\w+ed|(?:in)?(?:correct|valid)|right|true|clear|good|same|possible)\b)"
    r"([A-Za-z]{3,})\W*\Z",
    re.IGNORECASE,
)
_SEGMENT = re.compile(r"(?<!\\)\$((?:[^$\\\n]|\\.){1,200})\$|\\\((.{1,200}?)\\\)")
_LISTED = re.compile(r"[\s,]*(?:and|or)?[\s,]*")


def _stated(sentence: str, read: Callable[[str], str | None]) -> str | None:
    """The value of one sentence, None where it states none."""
    if "box" in sentence and (boxes := find_boxes(sentence)):  # most sentences have none: five times as quick
        return sentence[boxes[-1].content_start : boxes[-1].content_end].strip() or None
    value = read(sentence)
    if len(value or "") >= MAX_ANSWER_LINE:
        return None  # no value but digits without end
    return value if value and value.count("{") == value.count("}") else None


def _stated_number(sentence: str) -> str | None:
    side, rest = last_side(sentence)
    for text in after_is(rest):
        if value := _first_number(text):
            return value
    return _first_number(side) or _last_number(sentence)


def _stated_math(sentence: str) -> str | None:
    if listed := _listed(sentence):
        return listed
    side, rest = last_side(sentence)
    for text in after_is(rest):
        if value := _formula(text):
            return value
    if side:
        return _curve(sentence) if side == "0" else _formula(side)
    if segments := _SEGMENT.findall(sentence):
        return "".join(segments[-1]).strip()
    if word := _WORD.search(sentence):
        return word.group(1)
    # The digits of a formula that stands alone are no value of it; words, an estimate or a row of a sum do state one.
    states = _PROSE.search(sentence) or read_number(sentence.strip("\\ &$")) is not None
    return _correct(sentence) or (_last_number(sentence) if states else None)


def _curve(sentence: str) -> str:
    """The whole of `5x - 7y + 11z + 4 = 0`, which is an equation in several variables; else the 0."""
    found = _LEFT.search(sentence.rpartition("=")[0])
    left = found.group().strip() if found else ""
    if left.count("(") > left.count(")"):
        left = left.removeprefix("(").strip()
    return f"{left} = 0" if len(set(_VARIABLE.findall(left))) > 1 else "0"


_LEFT = re.compile(r"(?:\\[dt]?frac\b|[\d\s.+*^{}()/-]|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z]))+\Z")
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z(])")
_PROSE = re.compile(r"\\approx\b|≈|(?<![\\A-Za-z])[A-Za-z]{3,}(?![A-Za-z(])")
_CORRECT = re.compile(r"\s*is\s+(?:indeed\s+)?the\s+(?:correct|right|final|answer|result|solution)\b", re.IGNORECASE)


def _correct(sentence: str) -> str | None:
    """`326.5` in `326.5 is the correct sum of 313.9 and 12.6`."""
    return next(
        (found.group().strip() for found in find_numbers(sentence) if _CORRECT.match(sentence, found.end())), None
    )


def after_is(text: str, mark: re.Pattern[str] = _IS) -> Iterator[str]:
    """What follows each `is`, the last one first."""
    for found in reversed(deque(mark.finditer(text), maxlen=_MAX_IS)):
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
    value = mathematics_in(text)
    return value if value and any(map(str.isalnum, value)) else None


_ORDINAL = re.compile(r"(?<![\w.])\d{1,9}(?=(?:st|nd|rd|th)\b)")


def _first_number(text: str) -> str | None:
    found = next(find_numbers(text), None) or _ORDINAL.search(text)
    return found.group().strip() if found else None


def _last_number(text: str) -> str | None:
    return next((found.group().strip() for found in reversed(list(find_numbers(text)))), None)


_EQUALS = re.compile(r"(?<![!<>:])=|\\equiv\b|≡")


def last_side(sentence: str) -> tuple[str, str]:
    """The right-hand side of the last equation, and what follows it; the whole sentence follows where there is none."""
    equations = list(_EQUALS.finditer(sentence))
    if not equations:
        return "", sentence
    side = sentence[equations[-1].end() :]
    end = _side_end(side)
    return side[:end].strip(), side[end:]


_CURRENCY = re.compile(r"\s*(?:\\?\$\s?(?=[\d.+−-]))?")
_SIDE_END = re.compile(
    r"(?P<open>\\left\s*[(\[]|\\begin\{[a-zA-Z]*matrix\}|[({\[])|(?P<close>\\right\s*[)\]]|\\end\{[a-zA-Z]*matrix\}|[)}\]])"
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


def is_several(value: str) -> bool:
    """Whether a value lists several, as `-2, 1, 6` does: nothing is said then of one of them alone."""
    elements = read_elements(value)
    return elements is not None and len(elements.parts) > 1 and not elements.ordered
