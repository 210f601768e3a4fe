r"""Exact values with what stands around them: `x = 2\sqrt{3}\text{ cm}`, lists of them, and `\pm`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.markup import plain, strip_markup
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.answers.sequences import split_top_level, unbracket
from sftkey_eval.mathematics import algebra
from sftkey_eval.mathematics.algebra import Quotient
from sftkey_eval.mathematics.exact_equality import equal, evaluate
from sftkey_eval.mathematics.expressions import read_value
from sftkey_eval.mathematics.front_end import JOINED, both_signs, split_name, unit_splits
from sftkey_eval.policy import Policy

MAX_MEMBERS = 40
MAX_QUANTITIES_CHARS = 2_000

_ANGLES = ({"degree", ""}, {"degree", "rad"})  # what has no unit may be in radians


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value, its unit and the name it was given; both may be empty."""

    value: Quotient
    unit: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Quantities:
    """Several values and the brackets around them, as in `Elements`."""

    brackets: str
    members: tuple[Quantity, ...]

    @property
    def is_lone(self) -> bool:
        """One value without brackets."""
        return not self.brackets and len(self.members) == 1

    @property
    def ordered(self) -> bool:
        """A tuple or an interval; sets and lists are not."""
        return self.brackets not in ("", "{}")


def read_quantity(answer: Answer) -> Quantity | None:
    """The value with its name and unit that makes up all of an answer, None where it is anything else."""
    return _quantity(answer.stripped)


def _quantity(text: str) -> Quantity | None:
    name, rest = split_name(strip_markup(text))
    body = strip_markup(rest)
    number = read_number(body)
    if number is not None and not (number.percent or number.variable):
        return Quantity(algebra.number(number.value), number.unit, name)
    if with_unit := _with_unit(plain(body), name, upright="\\text" in body or "\\mathrm" in body):
        return with_unit
    value = read_value(body)
    return None if value is None else Quantity(value, "", name)


def read_quantities(answer: Answer) -> Quantities | None:
    r"""The members of a tuple, interval, set or list, with `\pm` written out; a lone value is a list of one."""
    text = answer.stripped
    if len(text) > MAX_QUANTITIES_CHARS:
        return None
    lone = answer.read(read_quantity)
    if lone is not None:
        return Quantities("", (lone,))
    name, rest = split_name(text)
    brackets, inside = unbracket(plain(rest))
    parts = _parts(brackets, inside)
    if not parts or len(parts) > MAX_MEMBERS:
        return None
    found = [_quantity(part) for part in parts]
    members = [member for member in found if member is not None]
    if len(members) < len(found):
        return None
    return Quantities(brackets, tuple(Quantity(m.value, m.unit, m.name or name) for m in members))


def read_points(answer: Answer) -> tuple[Quantities, ...] | None:
    """The tuples of a list or set of tuples; a lone tuple is a list of one. None where any part is something else."""
    if len(answer.stripped) > MAX_QUANTITIES_CHARS:
        return None
    brackets, inside = unbracket(answer.plain)
    parts = [Answer(part.strip()) for part in _parts("", inside)] if brackets in ("", "{}") else [answer]
    if not 0 < len(parts) <= MAX_MEMBERS:
        return None
    points = [part.read(read_quantities) for part in parts]
    found = tuple(point for point in points if point is not None and point.ordered and len(point.members) > 1)
    return found if len(found) == len(parts) else None


def same_quantity(gold: Quantity, predicted: Quantity, policy: Policy) -> bool | None:
    """Whether two quantities are equal; None where neither is proven."""
    if gold.name and predicted.name and gold.name != predicted.name:
        return False if not (gold.value.variables or predicted.value.variables) else None
    if {gold.unit, predicted.unit} in _ANGLES and algebra.PI in {*gold.value.atoms(), *predicted.value.atoms()}:
        return None  # 30 degrees and pi/6 may be the same angle
    if gold.unit != predicted.unit and not (policy.units == "forgive_missing" and not (gold.unit and predicted.unit)):
        return False
    return same_value(gold.value, predicted.value, policy)


def same_value(gold: Quotient, predicted: Quotient, policy: Policy) -> bool | None:
    """Exact equality, or equality after the policy's rounding."""
    if policy.rounding is None or (same := equal(gold, predicted)):
        return equal(gold, predicted) if policy.rounding is None else same
    if gold.variables or predicted.variables:
        return same
    try:
        one, other = evaluate(gold), evaluate(predicted)
    except (ArithmeticError, ValueError):
        return None
    return round(one.real, policy.rounding) == round(other.real, policy.rounding) and one.imag == other.imag


def same_members(
    gold: Sequence[Quantity], predicted: Sequence[Quantity], policy: Policy, *, ordered: bool
) -> bool | None:
    """Whether two sequences hold the same quantities; None where that is not proven either way."""
    if len(gold) != len(predicted):
        return False
    if ordered:
        return all_of([same_quantity(a, b, policy) for a, b in zip(gold, predicted, strict=True)])
    rest, unmatched = list(predicted), []
    for wanted in gold:
        match = next((index for index, other in enumerate(rest) if same_quantity(wanted, other, policy)), None)
        if match is None:
            unmatched.append(wanted)
        else:
            rest.pop(match)
    if not unmatched:
        return True
    open_question = any(same_quantity(a, b, policy) is None for a in unmatched for b in rest)
    return None if open_question else False


def all_of(answers: Sequence[bool | None]) -> bool | None:
    """Three-valued `all`."""
    if False in answers:
        return False
    return None if None in answers else True


def distinct(members: Sequence[Quantity], policy: Policy) -> list[Quantity]:
    """The members of a set, each once."""
    kept: list[Quantity] = []
    for member in members:
        if not any(same_quantity(member, other, policy) for other in kept):
            kept.append(member)
    return kept


def _parts(brackets: str, inside: str) -> list[str]:
    pieces = [inside] if brackets else JOINED.split(inside)
    if not (pieces[0].strip() and pieces[-1].strip()):
        return []  # `1 or` breaks off
    pieces = [piece for piece in pieces if piece.strip()]
    parts = [part for piece in pieces for part in split_top_level(piece)]
    if brackets in ("", "{}"):
        parts = [signed for part in parts for signed in both_signs(part)]
    return parts if all(part.strip() for part in parts) else []


def _with_unit(text: str, name: str, *, upright: bool) -> Quantity | None:
    r"""A unit of one letter counts only where it is set upright: `2\pi h` is a product."""
    for head, unit, tail in unit_splits(text):
        value = read_value(head)
        if value is not None and (upright or len(tail) > 1) and not value.is_opaque:
            return Quantity(value, unit, name)
    return None
