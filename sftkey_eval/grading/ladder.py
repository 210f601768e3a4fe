"""Is the predicted answer the gold answer: a verdict, and the rule that decided.

A rule is a plain function `(gold, predicted, policy) -> Decision | None`; None passes the question on. The rules of an
answer type run in order, cheapest first, and each sees the texts without the markup around them. Text of a model is
only ever compared, never evaluated.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.markup import compact, fold, plain, strip_markup
from sftkey_eval.answers.number_words import split_number_words
from sftkey_eval.answers.numbers import Number, read_number
from sftkey_eval.answers.option_letters import read_options, read_truth
from sftkey_eval.answers.sequences import Elements, read_elements, read_list, same_kind
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
    gold, predicted = (gold or "").strip(), (predicted or "").strip()
    if not is_usable(gold, answer_type, choices):
        return Decision("unscored", "unusable_gold" if gold else "empty_gold")
    if max(len(gold), len(predicted)) > MAX_ANSWER_CHARS:
        return Decision("correct", "same_text") if gold == predicted else Decision("undecided", "too_long")
    stripped = strip_markup(predicted)
    if not stripped or (_SILENT.fullmatch(stripped) and not _SILENT.fullmatch(gold)):
        return Decision("wrong", "no_answer")
    if answer_type == "choice":
        return _same_option(gold, predicted, choices)
    return _first_decision(RULES[answer_type], strip_markup(gold), stripped, policy)


_SILENT = re.compile(r"[\s?!.,;:_…]+")  # a question mark, a blank to fill in


def is_usable(gold: str, answer_type: AnswerType, choices: Sequence[str] | None = None) -> bool:
    """Whether a gold can decide anything: not empty, and of its type."""
    if not strip_markup(gold[: MAX_ANSWER_CHARS + 1]).strip("${} "):
        return False
    if answer_type == "number":
        return read_number(gold) is not None
    if answer_type == "choice":
        return len(gold) <= MAX_ANSWER_CHARS and len(read_options(gold, choices)) == 1
    return answer_type != "boolean" or (len(gold) <= MAX_ANSWER_CHARS and read_truth(gold) is not None)


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


def _first_decision(rules: Sequence[Rule], gold: str, predicted: str, policy: Policy) -> Decision:
    for rule in rules:
        if decision := rule(gold, predicted, policy):
            return decision
    return Decision("undecided", "no_rule")


def _equal(gold: Fraction, predicted: Fraction, policy: Policy) -> bool:
    if policy.rounding is None:
        return gold == predicted
    return round(gold, policy.rounding) == round(predicted, policy.rounding)


def _same_symbols(gold: str, predicted: str, policy: Policy) -> Decision | None:  # noqa: ARG001 - a rule's signature
    return Decision("correct", "same_text") if compact(gold) == compact(predicted) else None


def _same_words(gold: str, predicted: str, policy: Policy) -> Decision | None:
    return Decision("correct", "same_text") if _words(gold, policy) == _words(predicted, policy) else None


def _words(text: str, policy: Policy) -> str:
    text = " ".join(plain(text).split())
    return fold(text) if policy.case == "fold" else text


_OR = re.compile(r"\bor\b", re.IGNORECASE)


def _hedged(gold: str, predicted: str, policy: Policy) -> Decision | None:  # noqa: ARG001
    """`3 or 4` where one number is asked for."""
    hedges = _OR.search(plain(predicted)) and not _OR.search(plain(gold)) and read_number(gold) is not None
    return Decision("wrong", "hedged") if hedges else None


def _numbers(gold: str, predicted: str, policy: Policy) -> Decision | None:
    gold_number, predicted_number = _number(gold), _number(predicted)
    if gold_number is None or predicted_number is None:
        return None
    return decide(same_number(gold_number, predicted_number, policy), "number")


def _number(text: str) -> Number | None:
    """A number in digits or, as all of the answer, in words."""
    number = read_number(text)
    if number is not None:
        return number
    value, rest = split_number_words(plain(text))
    unit = read_unit(rest, spaced=True) if value is not None else None
    return None if value is None or unit is None else Number(value, unit=unit)


_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s'’-]+[^\W\d_]+)*+")


def _plain_words(gold: str, predicted: str, policy: Policy) -> Decision | None:
    r"""Two answers in words, as `\text{Evelyn}` and `Evan`; symbols such as `ab` are left to later rules."""
    pair = [" ".join(plain(text).split()) for text in (gold, predicted)]
    if not all(_WORDS.fullmatch(text) for text in pair) or max(len(word) for text in pair for word in text.split()) < 4:
        return None
    if any(nothing_kind(text) or text.casefold() == "infinity" for text in pair):
        return None  # these have synonyms
    return decide(_words(pair[0], policy) == _words(pair[1], policy), "words")


def _elements(gold: str, predicted: str, policy: Policy) -> Decision | None:
    """Tuples, intervals, sets and comma lists of numbers."""
    left, right = read_elements(gold), read_elements(predicted)
    if left is None or right is None or (left.single and right.single):
        return None
    golds, predicteds = _all_numbers(left), _all_numbers(right)
    kind = same_kind(left.brackets, right.brackets)
    if golds is None or predicteds is None or kind is None:
        return None
    if not (left.ordered or policy.order == "keep"):
        as_set = bool(left.brackets or right.brackets)
        golds, predicteds = _unordered(golds, as_set), _unordered(predicteds, as_set)
    pairs = zip(golds, predicteds, strict=False)
    equal = len(golds) == len(predicteds) and all(same_number(a, b, policy) for a, b in pairs)
    return decide(kind and equal, "elements")


def _all_numbers(elements: Elements) -> list[Number] | None:
    numbers = [read_number(part) for part in elements.parts]
    return [number for number in numbers if number] if all(numbers) else None


def _unordered(numbers: list[Number], as_set: bool) -> list[Number]:
    members = list(dict.fromkeys(numbers)) if as_set else numbers  # {1, 1, 2} is {1, 2}; the list 1, 1, 2 is not 1, 2
    return sorted(members, key=lambda number: number.value)


def _list(gold: str, predicted: str, policy: Policy) -> Decision:
    """Elements of two lists one by one, as numbers or as words."""
    left, right = read_list(gold), read_list(predicted)
    if left is None or right is None:
        return Decision("wrong", "list")
    golds, predicteds = ([_element(part, policy) for part in side.parts] for side in (left, right))
    in_order = policy.order == "keep" or "(" in left.brackets
    return decide(golds == predicteds if in_order else Counter(golds) == Counter(predicteds), "list")


def _element(text: str, policy: Policy) -> Fraction | str:
    number = read_number(text)
    return number.value if number and not (number.unit or number.percent or number.variable) else _words(text, policy)


def _same_truth(gold: str, predicted: str, policy: Policy) -> Decision:  # noqa: ARG001
    truth = read_truth(predicted)
    return Decision("wrong", "not_a_boolean") if truth is None else decide(read_truth(gold) == truth, "boolean")


def _same_option(gold: str, predicted: str, choices: Sequence[str] | None) -> Decision:
    letters = read_options(predicted, choices)
    if len(letters) > 1:
        return Decision("wrong", "hedged")
    return decide(letters == read_options(gold, choices), "option") if letters else Decision("wrong", "no_option")


def _symbolic(gold: str, predicted: str, policy: Policy) -> Decision:
    return Decision(*same_expression(gold, predicted, policy))


def _wrong(rule: str) -> Rule:
    return lambda gold, predicted, policy: Decision("wrong", rule)  # noqa: ARG005


RULES: Mapping[AnswerType, tuple[Rule, ...]] = MappingProxyType(
    {
        "number": (_same_symbols, _hedged, _numbers, _wrong("not_a_number")),
        "math": (_same_symbols, _hedged, _numbers, same_subject, _plain_words, _elements, *EXACT_RULES, _symbolic),
        "boolean": (_same_truth,),
        "text": (_same_words, _wrong("different_text")),
        "list": (_same_words, _list),
    }
)
"""The ladder of each answer type but `choice`, whose one rule needs the option texts."""
