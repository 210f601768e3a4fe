"""Rules of the ladder over numbers, words and elements, and what makes a gold usable."""

import re
from fractions import Fraction

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Decision, decide
from sftkey_eval.answers.markup import fold, strip_markup
from sftkey_eval.answers.number_words import split_number_words
from sftkey_eval.answers.numbers import Number, read_number
from sftkey_eval.answers.sequences import same_kind
from sftkey_eval.answers.units import read_unit
from sftkey_eval.mathematics.notations import nothing_kind
from sftkey_eval.policy import Policy

MAX_ANSWER_CHARS = 10_000  # a longer answer is compared as it is, and left undecided where that does not settle it


def says_something(gold: Answer) -> bool:
    """A gold that is not empty, apart from its markup."""
    short = len(gold.text) <= MAX_ANSWER_CHARS
    return bool((gold.stripped if short else strip_markup(gold.text[: MAX_ANSWER_CHARS + 1])).strip("${} "))


def _same_number(gold: Number, predicted: Number, policy: Policy) -> bool:
    """Exact equality of values under the policy's view of percent, units and rounding."""
    if gold.variable and predicted.variable and gold.variable != predicted.variable:
        return False
    if gold.percent != predicted.percent:
        if gold.unit or predicted.unit:
            return False
        written, bare = (gold.value, predicted.value) if gold.percent else (predicted.value, gold.value)
        readings = (written / 100, written) if policy.percent == "either" else (written / 100,)
        return any(_equal(reading, bare, policy) for reading in readings)
    missing = not (gold.unit and predicted.unit)
    units_agree = gold.unit == predicted.unit or (missing and policy.units == "forgive_missing")
    return units_agree and _equal(gold.value, predicted.value, policy)


def _equal(gold: Fraction, predicted: Fraction, policy: Policy) -> bool:
    if policy.rounding is None:
        return gold == predicted
    return round(gold, policy.rounding) == round(predicted, policy.rounding)


def same_symbols(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001 - a rule's signature
    """The same text but for white space, braces and spellings that change nothing."""
    return Decision("correct", "same_text") if gold.compact == predicted.compact else None


def same_words(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """The same words; the policy says whether their case counts."""
    same = words_of(gold.plain, policy) == words_of(predicted.plain, policy)
    return Decision("correct", "same_text") if same else None


def words_of(text: str, policy: Policy) -> str:
    """A plain text, as words for comparison."""
    text = _RATIO.sub(":", " ".join(text.split()))
    return fold(text) if policy.case == "fold" else text


_RATIO = re.compile(r"(?<=\d) ?: ?(?=\d)")  # `3 : 4` is `3:4`
_OR = re.compile(r"\bor\b", re.IGNORECASE)


def hedged(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    """`3 or 4` where one number is asked for."""
    hedges = _OR.search(predicted.plain) and not _OR.search(gold.plain) and gold.number is not None
    return Decision("wrong", "hedged") if hedges else None


_BOUNDED = re.compile(
    r"(?:at\s+(?:least|most)|(?:no|not)\s+(?:more|less|fewer)\s+than|up\s+to|[≤≥])\s*+(.*)", re.IGNORECASE
)


def bounded(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """`at least 7` where 7 is asked for: the value is there, and so are others."""
    found = _BOUNDED.fullmatch(predicted.plain)
    number = read_number(found[1]) if found else None
    if number is None or gold.number is None or not _same_number(gold.number, number, policy):
        return None
    return Decision("undecided", "bounded")


def same_numbers(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """Two numbers, in digits or in words."""
    gold_number, predicted_number = gold.read(_number), predicted.read(_number)
    if gold_number is None or predicted_number is None:
        return None
    return decide(_same_number(gold_number, predicted_number, policy), "number")


def _number(answer: Answer) -> Number | None:
    """A number in digits or, as all of the answer, in words."""
    if answer.number is not None:
        return answer.number
    value, rest = split_number_words(answer.plain)
    unit = read_unit(rest, spaced=True) if value is not None else None
    return None if value is None or unit is None else Number(value, unit=unit)


_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s'’-]+[^\W\d_]+)*+")


def same_plain_words(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    r"""Two answers in words, as `\text{Evelyn}` and `Evan`; symbols such as `ab` are left to later rules."""
    pair = [" ".join(answer.plain.split()) for answer in (gold, predicted)]
    if not all(_WORDS.fullmatch(text) for text in pair) or max(len(word) for text in pair for word in text.split()) < 4:
        return None
    if any(map(nothing_kind, (gold, predicted))) or any(text.casefold() == "infinity" for text in pair):
        return None  # these have synonyms
    return decide(words_of(pair[0], policy) == words_of(pair[1], policy), "words")


def same_elements(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """Tuples, intervals, sets and comma lists of numbers."""
    left, right = gold.elements, predicted.elements
    if left is None or right is None or (left.single and right.single):
        return None
    golds, predicteds = gold.read(_all_numbers), predicted.read(_all_numbers)
    kind = same_kind(left.brackets, right.brackets)
    if golds is None or predicteds is None or kind is None:
        return None
    if not (left.ordered or policy.order == "keep"):
        as_set = bool(left.brackets or right.brackets)
        golds, predicteds = _unordered(golds, as_set), _unordered(predicteds, as_set)
    pairs = zip(golds, predicteds, strict=False)  # of other lengths they are not equal, see below
    equal = len(golds) == len(predicteds) and all(_same_number(a, b, policy) for a, b in pairs)
    return decide(kind and equal, "elements")


def _all_numbers(answer: Answer) -> tuple[Number, ...] | None:
    numbers = [read_number(part) for part in answer.elements.parts] if answer.elements else []
    return tuple(number for number in numbers if number) if all(numbers) else None


def _unordered(numbers: tuple[Number, ...], as_set: bool) -> tuple[Number, ...]:
    members = tuple(dict.fromkeys(numbers)) if as_set else numbers  # {1, 1, 2} is {1, 2}; the list 1, 1, 2 is not 1, 2
    return tuple(sorted(members, key=lambda number: number.value))
