r"""Subsets of the real line: inequalities, intervals, sets and their unions, in one normal form."""

import operator
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.sequences import split_top_level, unbracket
from sftkey_eval.mathematics import algebra
from sftkey_eval.mathematics.algebra import Quotient
from sftkey_eval.mathematics.exact_equality import evaluate, exact_at
from sftkey_eval.mathematics.expressions import read_value
from sftkey_eval.mathematics.quantities import all_of, read_quantities, same_value
from sftkey_eval.policy import Policy

MAX_PIECES = 20
MAX_SET_CHARS = 1_000
MOST_POINT = 1e6  # farther out no point is tried
POINT_PARTS = 96  # of a point's denominator

_RELATIONS = (
    (re.compile(r"\\(?:leqslant|leqq|leq|le)(?![A-Za-z])|<=|=<|≤|⩽"), "≤"),
    (re.compile(r"\\(?:geqslant|geqq|geq|ge)(?![A-Za-z])|>=|≥|⩾"), "≥"),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:neq|ne)(?![A-Za-z])|\\not\s*=|!="), "≠"),
    (re.compile(r"\\cup(?![A-Za-z])|\b[Uu]\b(?=\s*[(\[\\])|\bor\b"), "∪"),
    (re.compile(r"\\in(?![A-Za-z])"), "∈"),
    (re.compile(r"\\(?:setminus|backslash)(?![A-Za-z])"), "∖"),
    (re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|ℝ|\ball\s+real\s+numbers\b|\ball\s+reals\b"), "ℝ"),
)
_MARK = re.compile(r"[<>≤≥≠∪∈∖ℝ]")
_ORDER = re.compile(r"([<>≤≥≠])")
_MEMBER = re.compile(r"\s*([A-Za-z])\s*∈\s*")
_INFINITY = algebra.atom(("oo",))
_HOLDS = {"<": operator.lt, ">": operator.gt, "≤": operator.le, "≥": operator.ge, "≠": operator.ne}
_FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "≠": "≠"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `low` to `high`, each included or not."""

    low: Quotient
    low_in: bool
    high: Quotient
    high_in: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Floating-point ends, for sorting."""
        return _real(self.low), _real(self.high)


RealSet = tuple[Stretch, ...]


def mentions_real_set(answer: Answer) -> bool:
    """Whether an answer holds a sign of order, a union or a set of numbers."""
    return _MARK.search(answer.read(_respelled)) is not None


def read_real_set(answer: Answer) -> tuple[str, RealSet] | None:
    """The variable, if one is named, and the sorted, merged spans; None where the text is no region."""
    text = answer.read(_respelled)
    if len(text) > MAX_SET_CHARS:
        return None
    pieces = text.split("∪")
    if len(pieces) > MAX_PIECES:
        return None
    try:
        return _united([_read_member(piece.strip()) for piece in pieces])
    except (ArithmeticError, ValueError):
        return None


def same_real_set(gold: RealSet, predicted: RealSet, policy: Policy) -> bool | None:
    """Whether two regions are equal; None where an end is not proven equal or different."""
    if len(gold) != len(predicted):
        return False
    pairs = list(zip(gold, predicted, strict=True))
    if any((a.low_in, a.high_in) != (b.low_in, b.high_in) for a, b in pairs):
        return False
    ends = [(a.low, b.low) for a, b in pairs] + [(a.high, b.high) for a, b in pairs]
    return all_of([same_value(one, other, policy) for one, other in ends])


def contradicts(region: RealSet, relation: Answer) -> bool:
    """Whether a point shows that an inequality in one variable, of any degree, does not say what a region says.

    Only rational values at rational points count, so what is found is proven.
    """
    parts = _ORDER.split(relation.read(_respelled))
    if len(parts) != 3 or len(relation.plain) > MAX_SET_CHARS:
        return False
    left, right = read_value(parts[0]), read_value(parts[2])
    if left is None or right is None or len(left.variables | right.variables) != 1:
        return False
    try:
        points = [(point, _is_in(point, region)) for point in _points_about(region)]
    except (ArithmeticError, ValueError):
        return False
    gaps = [(inside, exact_at(left, point), exact_at(right, point)) for point, inside in points if inside is not None]
    return any(a is not None and b is not None and _HOLDS[parts[1]](a, b) != inside for inside, a, b in gaps)


def _points_about(region: RealSet) -> set[Fraction]:
    """Points in every stretch of a region and beside it."""
    ends = [end for stretch in region for end in stretch.ends if abs(end) < MOST_POINT]
    middles = [(a + b) / 2 for a, b in pairwise(sorted(ends))]
    near = [end + step for end in ends for step in (-1, -1 / 8, 1 / 8, 1)]
    return {Fraction(round(point * POINT_PARTS), POINT_PARTS) for point in (*middles, *near)}


def _is_in(point: Fraction, region: RealSet) -> bool | None:
    """Whether a region has a point; None so near to an end that rounding could decide."""
    ends = [end for stretch in region for end in stretch.ends]
    if any(abs(end - point) < 1e-6 * max(1.0, abs(end)) for end in ends):
        return None
    return any(low < point < high for low, high in (stretch.ends for stretch in region))


def _respelled(answer: Answer) -> str:
    text = answer.plain
    for pattern, spelling in _RELATIONS:
        text = pattern.sub(spelling, text)
    return text.strip()


def _united(read: list[tuple[str, list[Stretch]] | None]) -> tuple[str, RealSet] | None:
    pieces = [piece for piece in read if piece is not None]
    names = {name for name, _ in pieces if name}
    if len(pieces) < len(read) or len(names) > 1:
        return None
    return "".join(names), _merged([span for _, spans in pieces for span in spans])


def _read_member(text: str) -> tuple[str, list[Stretch]] | None:
    member = _MEMBER.match(text)
    if member is None:
        return _read_piece(text)
    read = _read_piece(text[member.end() :].strip())
    return (member.group(1), read[1]) if read else None


def _read_piece(text: str) -> tuple[str, list[Stretch]] | None:
    if text == "ℝ":
        return "", [_span("<", _INFINITY)]
    if text.startswith("ℝ") and "∖" in text:
        return _without(text.partition("∖")[2])
    if _ORDER.search(text):
        return _inequality(_ORDER.split(text))
    brackets, inside = unbracket(text)
    parts = split_top_level(inside)
    if len(brackets) == 2 and brackets != "{}" and len(parts) == 2:
        low, high = (_constant(part) for part in parts)
        if low is None or high is None or _real(low) >= _real(high):
            return None
        return "", [Stretch(low, brackets[0] == "[", high, brackets[1] == "]")]
    return _points(text)


def _points(text: str) -> tuple[str, list[Stretch]] | None:
    found = read_quantities(Answer(text))
    if found is None or found.brackets not in ("", "{}") or any(m.unit or m.value.variables for m in found.members):
        return None
    names = {member.name for member in found.members}
    spans = [Stretch(member.value, True, member.value, True) for member in found.members]
    return (names.pop(), spans) if len(names) == 1 else None


def _without(text: str) -> tuple[str, list[Stretch]] | None:
    points = _points(text.strip())
    if points is None:
        return None
    values = sorted((span.low for span in points[1]), key=_real)
    ends = [-_INFINITY, *values, _INFINITY]
    return "", [Stretch(a, False, b, False) for a, b in pairwise(ends)]


def _inequality(parts: list[str]) -> tuple[str, list[Stretch]] | None:
    """`[c, op, x]`, `[x, op, c]` or `[c, op, x, op, c]`.

    Values stand at even places, signs at odd ones. Value `index` has its sign to the right at `2 * index + 1`, to the
    left at `2 * index - 1`. In `1 < x <= 3` value 0 has the sign at 1, turned around (`x > 1`), value 2 that at 3.
    """
    values = [read_value(part) for part in parts[::2]]
    if len(values) > 3 or any(value is None for value in values):
        return None
    sides = [value for value in values if value is not None]
    middle = next((index for index, value in enumerate(sides) if value.variables), None)
    if middle is None or any(value.variables for index, value in enumerate(sides) if index != middle):
        return None
    name = next(iter(sides[middle].variables))
    if sides[middle] != algebra.variable(name) or (len(sides) == 3 and middle != 1):
        return None
    bounds = []
    for index, value in enumerate(sides):
        if index < middle:
            bounds.append((_FLIPPED[parts[2 * index + 1]], value))
        elif index > middle:
            bounds.append((parts[2 * index - 1], value))
    return _bounded(name, bounds)


def _bounded(name: str, bounds: list[tuple[str, Quotient]]) -> tuple[str, list[Stretch]] | None:
    if len(bounds) == 1:
        sign, value = bounds[0]
        if sign == "≠":
            return name, [_span("<", value), _span(">", value)]
        return name, [_span(sign, value)]
    lower = [(sign, value) for sign, value in bounds if sign in ">≥"]
    upper = [(sign, value) for sign, value in bounds if sign in "<≤"]
    if len(lower) != 1 or len(upper) != 1:
        return None
    low, high = _span(*lower[0]), _span(*upper[0])
    return name, [Stretch(low.low, low.low_in, high.high, high.high_in)]


def _span(sign: str, value: Quotient) -> Stretch:
    if sign in "<≤":
        return Stretch(-_INFINITY, False, value, sign == "≤")
    return Stretch(value, sign == "≥", _INFINITY, False)


def _constant(text: str) -> Quotient | None:
    value = read_value(text)
    return None if value is None or value.variables else value


def _merged(spans: list[Stretch]) -> RealSet:
    merged: list[Stretch] = []
    for span in sorted(spans, key=lambda span: (*span.ends, not span.low_in)):  # each can touch only the last one kept
        last = merged[-1] if merged else None
        if last is None or not _touch(last, span):
            merged.append(span)
            continue
        later = span.ends[1] > last.ends[1] or (span.ends[1] == last.ends[1] and span.high_in)
        low_in = last.low_in or (span.low_in and span.ends[0] == last.ends[0])
        last = replace(last, low_in=low_in)
        merged[-1] = replace(last, high=span.high, high_in=span.high_in) if later else last
    return tuple(merged)


def _touch(first: Stretch, second: Stretch) -> bool:
    """Whether the union has no gap: `[1, 2)` and `[2, 3]` are one stretch, `(1, 2)` and `(2, 3)` leave 2 out."""
    gap = second.ends[0] - first.ends[1]
    return gap < 0 or (gap == 0 and (first.high_in or second.low_in))


def _real(value: Quotient) -> float:
    """Raises ValueError where a value is not real."""
    if not value.above.terms:
        return 0.0
    number = evaluate(value)
    if abs(number.imag) > 1e-9 * max(1.0, abs(number.real)):
        raise ValueError("not real")
    return number.real
