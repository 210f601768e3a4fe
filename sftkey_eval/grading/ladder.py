"""Is the predicted answer the gold answer: a verdict, and the rule that decided.

A rule is a plain function `(gold, predicted, policy) -> Decision | None`; None passes the question on. The rules of an
answer type run in order, cheapest first. Text of a model is only ever compared, never evaluated.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.markup import fold, plain, strip_markup
from sftkey_eval.answers.number_words import split_number_words
from sftkey_eval.answers.numbers import Number, read_number
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.answers.sequences import Elements, read_list, same_kind
from sftkey_eval.answers.units import read_unit
from sftkey_eval.grading.decision import Decision, Rule, decide
from sftkey_eval.grading.exact_rules import EXACT_RULES, same_subject
from sftkey_eval.mathematics.notations import nothing_kind
from sftkey_eval.policy import DEFAULT_POLICY, Policy
from sftkey_eval.symbolic.symbolic_rule import same_expression

MAX_ANSWER_CHARS = 10_000  # a longer answer is compared as it is, and left undecided where that does not settle it


def grade(
    gold: str | None,
    predicted: str | None,
    answer_type: AnswerType,
    *,
    choices: Sequence[str] | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> Decision:
    """Compare a predicted with a gold answer.

    Args:
        gold: The trusted answer.
        predicted: The extracted answer; None where there is none.
        answer_type: Picks the rules.
        choices: Option texts in the order A, B, C, …, for type `choice`.
        policy: What counts as equal.

    Returns:
        Never raises on any text. Whether an item is scored depends on the gold alone.
    """
    known = Choices.of(choices)
    return compare(Answer.of(gold, known), Answer.of(predicted, known), answer_type, policy)


def compare(gold: Answer, predicted: Answer, answer_type: AnswerType, policy: Policy = DEFAULT_POLICY) -> Decision:
    """`grade` for answers that were made before: what has been read from them is not read again."""
    if not gold.read(_USABLE[answer_type]):
        return Decision("unscored", "unusable_gold" if gold.text else "empty_gold")
    if max(len(gold.text), len(predicted.text)) > MAX_ANSWER_CHARS:
        return Decision("correct", "same_text") if gold.text == predicted.text else Decision("undecided", "too_long")
    if not predicted.stripped or (_SILENT.fullmatch(predicted.stripped) and not _SILENT.fullmatch(gold.text)):
        return Decision("wrong", "no_answer")
    return _first_decision(RULES[answer_type], gold, predicted, policy)


_SILENT = re.compile(r"[\s?!.,;:_…]+")  # a question mark, a blank to fill in


def is_usable(gold: str, answer_type: AnswerType, choices: Sequence[str] | None = None) -> bool:
    """Whether a gold can decide anything: not empty, and of its type."""
    return Answer.of(gold, choices).read(_USABLE[answer_type])


def _says_something(gold: Answer) -> bool:
    return bool(strip_markup(gold.text[: MAX_ANSWER_CHARS + 1]).strip("${} "))


def _is_number(gold: Answer) -> bool:
    return _says_something(gold) and gold.number is not None


def _is_option(gold: Answer) -> bool:
    return _says_something(gold) and len(gold.text) <= MAX_ANSWER_CHARS and len(gold.letters) == 1


def _is_truth(gold: Answer) -> bool:
    return _says_something(gold) and len(gold.text) <= MAX_ANSWER_CHARS and gold.truth is not None


def same_number(gold: Number, predicted: Number, policy: Policy) -> bool:
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


def _first_decision(rules: Sequence[Rule], gold: Answer, predicted: Answer, policy: Policy) -> Decision:
    for rule in rules:
        if decision := rule(gold, predicted, policy):
            return decision
    return Decision("undecided", "no_rule")


def _equal(gold: Fraction, predicted: Fraction, policy: Policy) -> bool:
    if policy.rounding is None:
        return gold == predicted
    return round(gold, policy.rounding) == round(predicted, policy.rounding)


def _same_symbols(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001 - a rule's signature
    return Decision("correct", "same_text") if gold.compact == predicted.compact else None


def _same_words(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    return Decision("correct", "same_text") if _words(gold.plain, policy) == _words(predicted.plain, policy) else None


def _words(text: str, policy: Policy) -> str:
    """A plain text, as words for comparison."""
    text = " ".join(text.split())
    return fold(text) if policy.case == "fold" else text


_OR = re.compile(r"\bor\b", re.IGNORECASE)


def _hedged(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    """`3 or 4` where one number is asked for."""
    hedges = _OR.search(predicted.plain) and not _OR.search(gold.plain) and gold.number is not None
    return Decision("wrong", "hedged") if hedges else None


def _numbers(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    gold_number, predicted_number = gold.read(_number), predicted.read(_number)
    if gold_number is None or predicted_number is None:
        return None
    return decide(same_number(gold_number, predicted_number, policy), "number")


def _number(answer: Answer) -> Number | None:
    """A number in digits or, as all of the answer, in words."""
    if answer.number is not None:
        return answer.number
    value, rest = split_number_words(answer.plain)
    unit = read_unit(rest, spaced=True) if value is not None else None
    return None if value is None or unit is None else Number(value, unit=unit)


_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s'’-]+[^\W\d_]+)*+")


def _plain_words(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    r"""Two answers in words, as `\text{Evelyn}` and `Evan`; symbols such as `ab` are left to later rules."""
    pair = [" ".join(answer.plain.split()) for answer in (gold, predicted)]
    if not all(_WORDS.fullmatch(text) for text in pair) or max(len(word) for text in pair for word in text.split()) < 4:
        return None
    if any(map(nothing_kind, (gold, predicted))) or any(text.casefold() == "infinity" for text in pair):
        return None  # these have synonyms
    return decide(_words(pair[0], policy) == _words(pair[1], policy), "words")


def _elements(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
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
    pairs = zip(golds, predicteds, strict=False)
    equal = len(golds) == len(predicteds) and all(same_number(a, b, policy) for a, b in pairs)
    return decide(kind and equal, "elements")


def _all_numbers(answer: Answer) -> tuple[Number, ...] | None:
    numbers = [read_number(part) for part in answer.elements.parts] if answer.elements else []
    return tuple(number for number in numbers if number) if all(numbers) else None


def _unordered(numbers: tuple[Number, ...], as_set: bool) -> tuple[Number, ...]:
    members = tuple(dict.fromkeys(numbers)) if as_set else numbers  # {1, 1, 2} is {1, 2}; the list 1, 1, 2 is not 1, 2
    return tuple(sorted(members, key=lambda number: number.value))


def _list(gold: Answer, predicted: Answer, policy: Policy) -> Decision:
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
    return number.value if number and bare else _words(plain(text), policy)


def _same_truth(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001
    if predicted.truth is None:
        return Decision("wrong", "not_a_boolean")
    return decide(gold.truth == predicted.truth, "boolean")


def _same_option(gold: Answer, predicted: Answer, policy: Policy) -> Decision:  # noqa: ARG001
    if len(predicted.letters) > 1:
        return Decision("wrong", "hedged")
    return decide(predicted.letters == gold.letters, "option") if predicted.letters else Decision("wrong", "no_option")


def _symbolic(gold: Answer, predicted: Answer, policy: Policy) -> Decision:
    return Decision(*same_expression(gold, predicted, policy))


def _wrong(rule: str) -> Rule:
    return lambda gold, predicted, policy: Decision("wrong", rule)  # noqa: ARG005


RULES: Mapping[AnswerType, tuple[Rule, ...]] = MappingProxyType(
    {
        "number": (_same_symbols, _hedged, _numbers, _wrong("not_a_number")),
        "math": (_same_symbols, _hedged, _numbers, same_subject, _plain_words, _elements, *EXACT_RULES, _symbolic),
        "choice": (_same_option,),
        "boolean": (_same_truth,),
        "text": (_same_words, _wrong("different_text")),
        "list": (_same_words, _list),
    }
)
"""The ladder of each answer type."""
_USABLE: Mapping[AnswerType, Callable[[Answer], bool]] = MappingProxyType(
    {
        "number": _is_number,
        "math": _says_something,
        "choice": _is_option,
        "boolean": _is_truth,
        "text": _says_something,
        "list": _says_something,
    }
)
"""Whether a gold of each answer type can decide anything."""
