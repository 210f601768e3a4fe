"""Exact equality of mathematical texts: Math-Verify's grammar reads them, nothing is rounded. Only in a worker process.

Math-Verify's own `verify` rounds to six places, folds the case of symbols, and lets `(1,2)` equal `{1,2}`. The policy
forbids all three, so two expressions are compared here: numbers to 100 places, expressions with symbols at random
points, relations by their difference. `opinion` is what Math-Verify itself says, as a second grader.
"""

import random
import re
from dataclasses import dataclass
from typing import Any, Literal

from latex2sympy2_extended import NormalizationConfig, latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify import parse, verify
from sympy import (
    And,
    Basic,
    EmptySet,
    Eq,
    Expr,
    Float,
    I,
    MatrixBase,
    Ne,
    Rational,
    Set,
    Symbol,
    nan,
    zoo,
)
from sympy.core.relational import GreaterThan, LessThan, Relational, StrictGreaterThan, StrictLessThan

Equality = Literal["equal", "different", "unknown", "unparsed"]

PLACES = 100
TINY = Rational(1, 10**80)  # of the 100 places, 20 may be lost to rounding and cancellation
POINTS = 16
MIN_POINTS = 4  # fewer comparable points prove nothing
POINTS_SEED = 20_240  # fixed: the same two expressions meet the same points in every process

_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])")
_NORMALIZATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
)
_CONVERSION = ConversionConfig(lowercase_symbols=False)
_IN_ENVIRONMENT = re.compile(r"\$|\\boxed|\\\(|\\\[")
_PROSE = re.compile(r"(?=[^\\^_{}]*\Z).*[A-Za-z]{2}", re.DOTALL)  # `18 dollars`: as LaTeX, a product of letters
_TURNED = {GreaterThan: LessThan, StrictGreaterThan: StrictLessThan}


class _UnparsedError(Exception):
    pass


def answer(request: dict[str, Any]) -> Equality:
    """The reply to one request: whether elements are equal, or Math-Verify's opinion."""
    if "opinion" in request:
        return opinion(*request["opinion"])
    try:
        golds, predicteds = ([read_operand(text) for text in request[side]] for side in ("golds", "predicteds"))
    except _UnparsedError:
        return "unparsed"
    rounding = request["rounding"]
    if request["ordered"]:
        return _all(same(gold, predicted, rounding) for gold, predicted in zip(golds, predicteds, strict=True))
    return _same_members(golds, predicteds, rounding, as_set=request["as_set"])


def opinion(gold: str, predicted: str) -> Equality:
    """What Math-Verify says with its own settings; its signal-based time limits are off, the worker's limit holds."""
    sides = [_own_reading(text) for text in (gold, predicted)]
    if not all(sides):
        return "unparsed"
    return "equal" if verify(*sides, timeout_seconds=None) else "different"


def _own_reading(text: str) -> list[Any]:
    """Math-Verify's default `parse`, given what its manual asks for: LaTeX in an environment, prose as it stands."""
    if not _IN_ENVIRONMENT.search(text):
        found: list[Any] = parse(text, parsing_timeout=None) if _PROSE.match(text) else []
        if found:
            return found
        text = f"${text}$"
    return list(parse(text, parsing_timeout=None))


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple, an interval or a set within a list; brackets of different kinds are different."""

    brackets: str
    parts: tuple[Any, ...]


def read_operand(text: Any) -> Any:
    """A sympy object without floats, and with `i` the imaginary unit; `[brackets, parts]` element by element."""
    if not isinstance(text, str):
        brackets, parts = text
        return Bracketed(brackets, tuple(map(read_operand, parts)))
    exact = _DECIMAL.sub(lambda found: rf"\frac{{{found[1]}{found[2]}}}{{1{'0' * len(found[2])}}}", text)
    try:
        parsed = latex2sympy(exact, normalization_config=_NORMALIZATION, conversion_config=_CONVERSION)
        if isinstance(parsed, Expr | MatrixBase):
            parsed = parsed.subs(Symbol("i"), I).doit()
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # the grammar and sympy raise whatever they please on model text
        raise _UnparsedError from error
    if not isinstance(parsed, Basic | MatrixBase) or parsed.has(Float, nan, zoo):
        raise _UnparsedError
    if parsed == EmptySet and "emptyset" not in text:  # an interval whose ends are turned around
        raise _UnparsedError
    return parsed


def same(gold: Any, predicted: Any, rounding: int | None) -> Equality:
    """Whether two parsed objects are equal; objects of different kinds never are, apart from a relation and its set."""
    try:
        return _same(gold, predicted, rounding)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - as above; what sympy cannot compare is not wrong
        return "unknown"


def _same(gold: Any, predicted: Any, rounding: int | None) -> Equality:
    if isinstance(gold, Bracketed) and isinstance(predicted, Bracketed):
        if gold.brackets != predicted.brackets:
            return "different"
        if gold.brackets == "{}":
            return _same_members(list(gold.parts), list(predicted.parts), rounding, as_set=True)
        if len(gold.parts) != len(predicted.parts):
            return "different"
        return _all(same(a, b, rounding) for a, b in zip(gold.parts, predicted.parts, strict=True))
    if isinstance(gold, MatrixBase) and isinstance(predicted, MatrixBase):
        if gold.shape != predicted.shape:
            return "different"
        return _all(same(a, b, rounding) for a, b in zip(gold, predicted, strict=True))
    if _is_relation(gold) and _is_relation(predicted):
        return _same_relation(gold, predicted)
    if isinstance(gold, Set) or isinstance(predicted, Set):
        return _same_set(gold, predicted)
    if isinstance(gold, Expr) and isinstance(predicted, Expr):
        symbols = sorted(gold.free_symbols | predicted.free_symbols, key=str)
        return _same_function(gold, predicted, symbols) if symbols else _same_value(gold, predicted, rounding)
    return "different"


def _same_value(gold: Expr, predicted: Expr, rounding: int | None) -> Equality:
    if gold == predicted:
        return "equal"
    left, right = gold.evalf(PLACES), predicted.evalf(PLACES)
    if not (left.is_number and right.is_number):
        return "unknown"
    if not (left.is_finite and right.is_finite):
        return "different"
    if rounding is not None and left.is_real and right.is_real:
        return "equal" if left.round(rounding) == right.round(rounding) else "different"
    gap = abs((gold - predicted).evalf(PLACES, chop=True))
    return "equal" if gap < TINY else "different"


def _same_function(gold: Expr, predicted: Expr, symbols: list[Any]) -> Equality:
    """Agreement wherever both are real, at random points of both signs; sqrt(x^2) is x on one side only."""
    if gold == predicted:
        return "equal"
    agreeing = 0
    for point in _points(symbols):
        left, right = (side.subs(point).evalf(PLACES) for side in (gold, predicted))
        if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
            continue
        if not (left.is_real or right.is_real or gold.has(I) or predicted.has(I)):
            continue  # neither is a real value here, as for sqrt(1/n) and 1/sqrt(n) at n < 0
        if abs(left - right) > TINY * (1 + abs(left)):
            return "different"
        agreeing += 1
    return "equal" if agreeing >= MIN_POINTS else "unknown"


def _points(symbols: list[Any]) -> list[dict[Any, Rational]]:
    numbers = random.Random(POINTS_SEED)
    points = []
    for index in range(POINTS):
        signs = [1 if index % 2 else numbers.choice((1, -1)) for _ in symbols]  # half the points positive throughout
        points.append({s: sign * Rational(numbers.randint(1, 400), 97) for s, sign in zip(symbols, signs, strict=True)})
    return points


def _is_relation(value: Any) -> bool:
    return isinstance(value, Relational) or (isinstance(value, And) and all(map(_is_relation, _parts(value))))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Relational):
        return [value]
    return list(getattr(value, "_unsorted_args", value.args))


def _same_relation(gold: Any, predicted: Any) -> Equality:
    golds, predicteds = _parts(gold), _parts(predicted)
    if len(golds) == len(predicteds) and _matched(golds, predicteds, _same_difference) == "equal":
        return "equal"
    if any(isinstance(part, Eq) for part in golds + predicteds):
        return "different"
    return _same_set(gold, predicted)


def _same_difference(gold: Relational, predicted: Relational) -> Equality:
    """`a < b` as `b - a` above zero: equal where the differences are, up to a factor."""
    (left_kind, left), (right_kind, right) = _canonical(gold), _canonical(predicted)
    if left_kind is not right_kind:
        return "different"
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    if not symbols:
        return "unknown"
    ratio = None
    for point in _points(symbols):
        above, below = left.subs(point).evalf(PLACES), right.subs(point).evalf(PLACES)
        if below.is_number and below.is_finite and below != 0:
            ratio = above / below
            break
    if ratio is None or not ratio.is_number or not ratio.is_finite or ratio == 0:
        return "unknown"
    if left_kind not in (Eq, Ne) and not ratio > 0:
        return "different"
    return _same_function(left, ratio * right, symbols)


def _canonical(relation: Relational) -> tuple[type, Expr]:
    kind = type(relation)
    if kind in _TURNED:
        return _TURNED[kind], relation.rhs - relation.lhs
    return kind, relation.lhs - relation.rhs


def _same_set(gold: Any, predicted: Any) -> Equality:
    sets = [
        side if isinstance(side, Set) else side.as_set() if _is_relation(side) else None for side in (gold, predicted)
    ]
    left, right = sets
    if left is None or right is None:
        return "different"
    if left == right:
        return "equal"
    empty = left.symmetric_difference(right).is_empty
    return "unknown" if empty is None else "equal" if empty else "different"


def _same_members(golds: list[Any], predicteds: list[Any], rounding: int | None, *, as_set: bool) -> Equality:
    if not as_set:
        return _matched(golds, predicteds, lambda a, b: same(a, b, rounding))
    outcomes = [[same(a, b, rounding) for b in predicteds] for a in golds]
    covered = [_any(row) for row in outcomes] + [_any(column) for column in zip(*outcomes, strict=True)]
    return _all(covered)


def _matched(golds: list[Any], predicteds: list[Any], compare: Any) -> Equality:
    """Whether every element has one of its own on the other side.

    Equality is transitive, so the first found will do.
    """
    if len(golds) != len(predicteds):
        return "different"
    remaining, unknown = list(predicteds), False
    for gold in golds:
        outcomes = [compare(gold, predicted) for predicted in remaining]
        if "equal" in outcomes:
            remaining.pop(outcomes.index("equal"))
        elif "unknown" in outcomes:
            unknown = True
        else:
            return "different"
    return "unknown" if unknown else "equal"


def _all(outcomes: Any) -> Equality:
    found = set(outcomes)
    return "different" if "different" in found else "unknown" if "unknown" in found else "equal"


def _any(outcomes: Any) -> Equality:
    found = set(outcomes)
    return "equal" if "equal" in found else "unknown" if "unknown" in found else "different"
