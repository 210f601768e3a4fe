r"""Rules of the ladder over exact values: proven equal is correct, proven different is wrong, else the next rule."""

import re

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Decision, Rule, decide
from sftkey_eval.answers.number_words import NUMBER_WORDS
from sftkey_eval.answers.sequences import same_kind
from sftkey_eval.mathematics import algebra
from sftkey_eval.mathematics.notations import (
    bare_digits,
    nothing_kind,
    read_asked,
    read_base,
    read_equation,
    read_identity,
    read_matrix,
    read_ratio,
    same_equation,
    same_ratio,
)
from sftkey_eval.mathematics.quantities import (
    Quantities,
    all_of,
    distinct,
    read_points,
    read_quantities,
    read_quantity,
    same_members,
    same_value,
)
from sftkey_eval.mathematics.real_sets import contradicts, mentions_real_set, read_real_set, same_real_set
from sftkey_eval.policy import Policy


def same_nothing(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001 - a rule's signature
    r"""`no solution` is `\emptyset`, and no value; `none` may mean either or zero."""
    kinds = gold.read(nothing_kind), predicted.read(nothing_kind)
    if kinds == (None, None):
        return None
    if None not in kinds:
        return Decision("correct", "nothing") if kinds[0] == kinds[1] or set(kinds) == {"empty", "none"} else None
    other = predicted if kinds[0] else gold
    found = other.read(read_quantities)
    if "none" in kinds or found is None or any(member.value.constant is None for member in found.members):
        return None
    return Decision("wrong", "nothing")


def same_base(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """A base is part of the answer: `21_4` is not `1001_2`; a bare number with its digits or value stays open."""
    left, right = gold.read(read_base), predicted.read(read_base)
    if left is not None and right is not None:
        return decide(left == right, "base")
    based = left or right
    if based is None:
        return None
    bare = predicted if right is None else gold
    other = bare.read(read_quantity)
    constant = other is not None and other.value.constant is not None
    same = other is not None and constant and same_value(algebra.number(based.value), other.value, policy)
    if same and based.base == TEN:
        return Decision("correct", "base")
    digits = bare_digits(bare)
    if same or digits == based.digits:
        return Decision("undecided", "base")
    return Decision("wrong", "base") if constant or digits else None


TEN = 10


def same_proportion(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    """`3:4` equals `6:8`; it is not the number 3/4."""
    ratios = gold.read(read_ratio), predicted.read(read_ratio)
    if ratios[0] is not None and ratios[1] is not None:
        return _verdict(same_ratio(ratios[0], ratios[1]), "ratio")
    if ratios == (None, None):
        return None
    other = (predicted if ratios[1] is None else gold).read(read_quantity)
    return None if other is None else Decision("wrong", "ratio")


def same_matrix(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    r"""Cell by cell; `-\mathbf{I}` is minus the identity of the other one's size."""
    left, right = gold.read(read_matrix), predicted.read(read_matrix)
    if left is None and right is not None:
        left = read_identity(gold, len(right))
    elif right is None and left is not None:
        right = read_identity(predicted, len(left))
    if left is None or right is None:
        return None
    if (len(left), len(left[0])) != (len(right), len(right[0])):
        return Decision("wrong", "matrix")
    cells = [
        same_value(a, b, policy)
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return _verdict(all_of(cells), "matrix")


def same_quantities(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """Values with roots, constants and variables, alone or in tuples, intervals, sets and lists."""
    left, right = gold.read(read_quantities), predicted.read(read_quantities)
    if left is None or right is None:
        return None
    return _verdict(_same_collection(left, right, policy), "value" if left.is_lone and right.is_lone else "values")


def _same_collection(left: Quantities, right: Quantities, policy: Policy) -> bool | None:
    if left.is_lone and right.is_lone:
        return same_members(left.members, right.members, policy, ordered=True)
    kind = same_kind(left.brackets, right.brackets)
    if kind is None:
        return False if _one_against_several(left, right) else None
    if any(len(side.members) == 1 and side.ordered for side in (left, right)):
        return None  # `[5]` may be a list or a value in brackets
    if not kind:
        return False
    one, other = list(left.members), list(right.members)
    if not left.ordered and (left.brackets or right.brackets):  # {1, 1, 2} is {1, 2}; the list 1, 1, 2 is not 1, 2
        one, other = distinct(one, policy), distinct(other, policy)
    return same_members(one, other, policy, ordered=left.ordered or policy.order == "keep")


def _one_against_several(left: Quantities, right: Quantities) -> bool:
    """A number without brackets against a tuple or an interval."""
    lone, several = (left, right) if left.is_lone else (right, left)
    return lone.is_lone and len(several.members) > 1 and lone.members[0].value.constant is not None


def same_points(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """Lists and sets of tuples."""
    left, right = gold.read(read_points), predicted.read(read_points)
    if left is None or right is None:
        return None
    if len(left) != len(right):
        return Decision("wrong", "points")
    rest, answers = list(right), []
    for point in left:
        found = [_same_collection(point, other, policy) for other in rest]
        answers.append(True if True in found else None if None in found else False)
        if True in found:
            rest.pop(found.index(True))
    return _verdict(all_of(answers), "points")


def no_value(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    """A number against words that name none: `17` and `correct`."""
    numbers = [answer.number is not None for answer in (gold, predicted)]
    if numbers[0] == numbers[1]:
        return None
    words = _WORDS.fullmatch((predicted if numbers[0] else gold).plain)
    if words is None or not NUMBERLIKE.isdisjoint(re.split(r"\W+", words.group().lower())):
        return None
    return Decision("wrong", "no_value")


_WORDS = re.compile(r"[A-Za-z]{2,}(?:[ ,'-]{1,3}[A-Za-z]+)*+[?!]?")
_VALUE_WORDS = """
pi tau oo inf infinity infinite infinitely none nothing nil null empty no dozen score pair couple double twice once
thrice single unit unity root square sqrt cube log ln exp percent first second both all every neither degree right same
"""
NUMBERLIKE = NUMBER_WORDS - {"and"} | set(_VALUE_WORDS.split())
"""Words that may state a value, alone or with others."""


def same_regions(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """`x > 2` is the interval from 2 to infinity; unions in any order."""
    if not (mentions_real_set(gold) or mentions_real_set(predicted)):
        return None
    left, right = gold.read(read_real_set), predicted.read(read_real_set)
    if left is None or right is None:
        known, other = (left, predicted) if left else (right, gold)
        return Decision("wrong", "region") if known and contradicts(known[1], other) else None
    if left[0] and right[0] and left[0] != right[0]:
        return Decision("wrong", "region")
    return _verdict(same_real_set(left[1], right[1], policy), "region")


def same_equations(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    """`y = 2x + 1` is `2x - y + 1 = 0`."""
    left, right = gold.read(read_equation), predicted.read(read_equation)
    if left is None or right is None:
        return None
    return _verdict(same_equation(left, right), "equation")


def same_asked(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:
    """`x + y = 17` against the 17 that was asked for; never proven different, for the other may be an equation too."""
    asked = gold.read(read_asked), predicted.read(read_asked)
    if (asked[0] is None) == (asked[1] is None):
        return None
    values = asked[0] or gold, asked[1] or predicted
    for rule in (same_proportion, same_quantities):
        decision = rule(*values, policy)
        if decision is not None and decision.verdict == "correct" and not _has_variables(values[0]):
            return Decision("correct", "asked")
    return None


def _has_variables(answer: Answer) -> bool:
    found = answer.read(read_quantities)
    return found is not None and any(member.value.variables for member in found.members)


def same_subject(gold: Answer, predicted: Answer, policy: Policy) -> Decision | None:  # noqa: ARG001
    r"""A name against a sentence about it alone: `Navin` and `Navin earns the most`."""
    name, sentence = gold.plain, predicted.plain
    if not _NAME.fullmatch(name) or not _SENTENCE.fullmatch(sentence):
        return None
    first, rest = sentence.split(" ", 1)
    return Decision("correct", "subject") if first == name and not _OTHERS.search(rest) else None


_NAME = re.compile(r"[A-Z][a-z]{2,}")
_SENTENCE = re.compile(r"[A-Z][a-z]+(?: [a-z'’-]+){2,14}")
_OTHERS = re.compile(r"\b(?:and|or|not|never|nor|but|if|than|less|least|no|neither|only|unless|cannot)\b|n['’]t\b")


def _verdict(equal: bool | None, rule: str) -> Decision | None:
    return None if equal is None else decide(equal, rule)


EXACT_RULES: tuple[Rule, ...] = (
    same_nothing,
    same_base,
    same_proportion,
    same_matrix,
    same_quantities,
    same_points,
    same_regions,
    same_equations,
    same_asked,
    no_value,
)
"""For type `math`, after the rules on plain numbers and words."""
