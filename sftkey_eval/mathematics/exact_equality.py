"""Whether two exact values are equal: by their forms, and where these are not unique, by floating-point distance."""

import cmath
import math
import zlib
from collections.abc import Callable
from fractions import Fraction

from sftkey_eval.mathematics.algebra import Atom, Monomial, Quotient, Sum, TooCostly

MAX_DEGREE = 200
"""Of a term that is computed exactly."""


def equal(one: Quotient, other: Quotient) -> bool | None:
    """Whether two values are equal; None where neither is proven."""
    if one == other:
        return True
    try:
        left, right = one.above * other.below, other.above * one.below
    except TooCostly:
        return False if differ_in_value(one, other) else None
    if left == right:
        return True
    if not (one.is_opaque or other.is_opaque):
        return False
    return False if differ_in_value(one, other) else None


def differ_in_value(one: Quotient, other: Quotient) -> bool:
    """Whether the values at a fixed point for every variable are far apart, beyond any rounding error."""
    try:
        a, b = evaluate(one), evaluate(other)
    except (ArithmeticError, ValueError):
        return False
    if not (cmath.isfinite(a) and cmath.isfinite(b)):
        return False
    # A double has 16 digits and a sum may lose 4 of them to cancellation (see `_evaluate_sum`): 9 are left with room.
    return abs(a - b) > 1e-9 * max(abs(a), abs(b), 1e-6)


def exact_at(value: Quotient, point: Fraction) -> Fraction | None:
    """The value where every variable is `point`; None where it is not rational, or not defined."""
    above, below = _sum_at(value.above, point), _sum_at(value.below, point)
    return None if above is None or not below else above / below


def _sum_at(terms: Sum, point: Fraction) -> Fraction | None:
    total = Fraction(0)
    for monomial, coefficient in terms.terms:
        degrees = [exponent for name, exponent in monomial if name[0] == "variable"]
        degree = int(sum(degrees))
        rational = len(degrees) == len(monomial) and all(exponent.denominator == 1 for exponent in degrees)
        if not rational or (point == 0 and degree < 0) or abs(degree) > MAX_DEGREE:
            return None
        total += coefficient * point**degree
    return total


def evaluate(value: Quotient) -> complex:
    """A floating-point value, with a fixed number for every variable.

    Raises:
        ArithmeticError: Overflow, or a denominator of zero.
        ValueError: Outside a function's domain, or cancellation leaves no correct digits.
    """
    return _evaluate_sum(value.above) / _evaluate_sum(value.below)


def _evaluate_sum(terms: Sum) -> complex:
    values = [_evaluate_term(monomial, coefficient) for monomial, coefficient in terms.terms]
    total = sum(values)
    if values and abs(total) < 1e-4 * sum(map(abs, values)):
        raise ValueError("cancellation")
    return complex(total)


def _evaluate_term(monomial: Monomial, coefficient: Fraction) -> complex:
    value = complex(float(coefficient))
    for name, exponent in monomial:
        value *= _evaluate_atom(name) ** float(exponent)
    return value


def _modulus(value: complex) -> complex:
    return complex(abs(value))


_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "ln": cmath.log,
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "abs": _modulus,
}
FUNCTIONS = frozenset(_FUNCTIONS)
# Infinity by a finite stand-in: complex arithmetic makes nan of an infinite one, as in -1 * inf.
_CONSTANTS = {"i": 1j, "pi": complex(math.pi), "e": complex(math.e), "oo": complex(1e300)}


def _well_conditioned(function: Callable[[complex], complex], argument: complex) -> complex:
    """Raises ValueError near a zero or a pole, where rounding in the argument would show: `sin pi` is no 1e-16."""
    value = function(argument)
    if abs(argument) > 1e4 or not 1e-6 < abs(value) < 1e6:
        raise ValueError("ill-conditioned")
    return value


def _evaluate_atom(name: Atom) -> complex:
    match name:
        case ("prime", int(prime)):
            return complex(prime)
        case ("variable", str(letter)):
            # In [1.1, 2.1): positive, so that roots are real. Not `hash`, which is another one in every process.
            return complex(1.1 + (zlib.crc32(letter.encode()) % 10_007) / 10_007)
        case ("function", str(function_name), Quotient() as argument):
            return _well_conditioned(_FUNCTIONS[function_name], evaluate(argument))
        case ("root", Quotient() as base, int(degree)):
            inner = evaluate(base)
            if degree % 2 and inner.imag == 0 and inner.real < 0:  # the real root: Python's (-8) ** (1/3) is complex
                return -((-inner) ** (1 / degree))
            return inner ** (1 / degree)
        case ("power", Quotient() as base, Quotient() as exponent):
            return evaluate(base) ** evaluate(exponent)
    return _CONSTANTS[str(name[0])]
