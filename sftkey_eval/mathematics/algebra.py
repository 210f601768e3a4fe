r"""Exact arithmetic for answers: quotients of sums of terms, where equal values have one form.

A term is a rational coefficient times powers of atoms: `3 sqrt(2) x` is 3, `("prime", 2)` to the 1/2 and
`("variable", "x")`. Other atoms are pi, e, i, and opaque ones such as `("function", "sin", x)`. Products of roots of
primes are linearly independent over the rationals (Besicovitch 1940), and pi is transcendental. So two sums without
opaque atoms are equal only if they have the same terms. What would grow too large raises `TooCostly`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_TERMS = 200
MAX_BITS = 14_000  # below the 4,300 digits that Python writes out: terms are sorted by how they are written
MAX_POWER = 40  # of a sum with several terms
MAX_FACTOR = 2_000  # trial divisors; a cofactor below its square is prime

Atom = tuple[object, ...]
Monomial = tuple[tuple[Atom, Fraction], ...]
IMAGINARY, PI, EULER = ("i",), ("pi",), ("e",)
OPAQUE = frozenset({"root", "function", "power"})


class NotExact(ValueError):  # noqa: N818 - says what the text is
    """The text is no expression that this arithmetic covers."""


class TooCostly(NotExact):
    """The exact value would be too large to compute."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms in the order of their text, as atoms do not compare with each other; none has the coefficient zero."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __add__(self, other: "Sum") -> "Sum":
        return _collect([*self.terms, *other.terms])

    def __mul__(self, other: "Sum") -> "Sum":
        if len(self.terms) * len(other.terms) > MAX_TERMS * 4:
            raise TooCostly("too many terms")
        return _collect([_times(a, b) for a in self.terms for b in other.terms])

    def scaled(self, factor: Fraction) -> "Sum":
        """Every coefficient times a number."""
        return _collect([(monomial, coefficient * factor) for monomial, coefficient in self.terms])

    @property
    def constant(self) -> Fraction | None:
        """The value where it is rational."""
        if not self.terms:
            return Fraction(0)
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    def atoms(self) -> Iterator[Atom]:
        """Every atom that occurs, outermost ones only."""
        return (atom for monomial, _ in self.terms for atom, _ in monomial)


@dataclass(frozen=True, slots=True)
class Quotient:
    """A sum over a sum that is not zero; the denominator is 1 wherever it has one term."""

    above: Sum
    below: Sum

    def __add__(self, other: "Quotient") -> "Quotient":
        if self.below == other.below:
            return quotient(self.above + other.above, self.below)
        return quotient(self.above * other.below + other.above * self.below, self.below * other.below)

    def __sub__(self, other: "Quotient") -> "Quotient":
        return self + -other

    def __neg__(self) -> "Quotient":
        return Quotient(self.above.scaled(Fraction(-1)), self.below)

    def __mul__(self, other: "Quotient") -> "Quotient":
        return quotient(self.above * other.above, self.below * other.below)

    def __truediv__(self, other: "Quotient") -> "Quotient":
        return quotient(self.above * other.below, self.below * other.above)

    @property
    def constant(self) -> Fraction | None:
        """The value where it is a rational number."""
        return self.above.constant if self.below == _ONE else None

    def atoms(self) -> Iterator[Atom]:
        """Every atom that occurs."""
        yield from self.above.atoms()
        yield from self.below.atoms()

    @property
    def is_opaque(self) -> bool:
        """Whether equal values may have several forms."""
        return any(atom[0] in OPAQUE for atom in self.atoms())

    @property
    def variables(self) -> frozenset[str]:
        """Names of the variables, also inside functions."""
        return frozenset(_variables(self))


_ONE = Sum((((), Fraction(1)),))


def number(value: Fraction | int) -> Quotient:
    """A rational number."""
    return Quotient(_collect([((), Fraction(value))]), _ONE)


def atom(name: Atom) -> Quotient:
    """A constant or a variable."""
    return Quotient(Sum(((((name, Fraction(1)),), Fraction(1)),)), _ONE)


def variable(name: str) -> Quotient:
    """A variable."""
    return atom(("variable", name))


def function(name: str, argument: Quotient) -> Quotient:
    """A function that has no exact rule here: equal only where its arguments have the same form."""
    return atom(("function", name, argument))


def quotient(above: Sum, below: Sum) -> Quotient:
    """`above / below` with a denominator of one term divided out.

    Raises:
        NotExact: The denominator is zero.
    """
    if not below.terms:
        raise NotExact("division by zero")
    if len(below.terms) > 1:
        scale = 1 / below.terms[0][1]  # the first term below gets the coefficient 1, so x / (2x + 2) has one form
        return (
            number(scale_of(above, below))
            if _proportional(above, below)
            else Quotient(above.scaled(scale), below.scaled(scale))
        )
    monomial, coefficient = below.terms[0]
    inverse = tuple((atom, -exponent) for atom, exponent in monomial)
    return Quotient(above * _collect([_times((inverse, 1 / coefficient), ((), Fraction(1)))]), _ONE)


def scale_of(above: Sum, below: Sum) -> Fraction:
    """Ratio of the first coefficients."""
    return above.terms[0][1] / below.terms[0][1]


def _proportional(above: Sum, below: Sum) -> bool:
    return bool(above.terms) and above == below.scaled(scale_of(above, below))


def proportional(one: Quotient, other: Quotient) -> bool:
    """Whether one numerator is a rational multiple of the other: the same equation against zero."""
    return bool(other.above.terms) and _proportional(one.above, other.above)


def power(base: Quotient, exponent: Quotient) -> Quotient:
    """`base ** exponent` for whole and broken exponents and for exponents with variables.

    Raises:
        NotExact: `0 ** -1` and roots that have several values.
        TooCostly: The result would be too large.
    """
    value = exponent.constant
    if not base.above.terms:
        if value is None or value <= 0:
            raise NotExact("power of zero")
        return base
    if value is not None and value.denominator == 1:
        return _whole_power(base, int(value))
    if base.below != _ONE or len(base.above.terms) != 1:
        if value is None:
            return atom(("power", base, exponent))
        whole = value.numerator
        return _whole_power(atom(("root", base, value.denominator)), whole)
    if value is None:
        return _symbolic_power(base.above.terms[0], exponent)
    return _broken_power(base.above.terms[0], value)


def _variables(value: Quotient) -> Iterator[str]:
    for name in value.atoms():
        if name[0] == "variable":
            yield str(name[1])
        for part in name[1:]:
            if isinstance(part, Quotient):
                yield from _variables(part)


def _collect(terms: list[tuple[Monomial, Fraction]]) -> Sum:
    found: dict[Monomial, Fraction] = {}
    for monomial, coefficient in terms:
        found[monomial] = found.get(monomial, Fraction(0)) + coefficient
    kept = [(monomial, coefficient) for monomial, coefficient in found.items() if coefficient]
    if len(kept) > MAX_TERMS or any(_bits(coefficient) > MAX_BITS for _, coefficient in kept):
        raise TooCostly("too large")
    return Sum(tuple(sorted(kept, key=lambda term: repr(term[0])) if len(kept) > 1 else kept))


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _times(one: tuple[Monomial, Fraction], other: tuple[Monomial, Fraction]) -> tuple[Monomial, Fraction]:
    exponents = dict(one[0])
    for name, exponent in other[0]:
        exponents[name] = exponents.get(name, Fraction(0)) + exponent
    coefficient = one[1] * other[1]
    for name in [name for name in exponents if name[0] in ("prime", "i")]:
        exponents[name], factor = _reduce(name, exponents[name])
        coefficient *= factor
    kept = [(name, exponent) for name, exponent in exponents.items() if exponent]
    return tuple(sorted(kept, key=repr) if len(kept) > 1 else kept), coefficient


def _reduce(name: Atom, exponent: Fraction) -> tuple[Fraction, Fraction]:
    """Whole powers of a prime under a root, and of i squared, belong to the coefficient."""
    if name[0] == "prime":
        whole = math.floor(exponent)  # 2^(-1/2) is 2^(1/2) / 2: what stays under the root is in [0, 1)
        if abs(whole) > MAX_BITS:
            raise TooCostly("exponent")
        return exponent - whole, Fraction(int(str(name[1]))) ** whole
    if name[0] == "i" and exponent.denominator == 1:
        return exponent % 2, Fraction(-1 if exponent % 4 >= 2 else 1)
    return exponent, Fraction(1)


def _whole_power(base: Quotient, exponent: int) -> Quotient:
    if exponent < 0:
        return number(1) / _whole_power(base, -exponent)
    if len(base.above.terms) == 1 and base.below == _ONE:
        return Quotient(_collect([_single_power(base.above.terms[0], Fraction(exponent))]), _ONE)
    if base.constant is None and exponent > MAX_POWER:
        raise TooCostly("power")
    result = number(1)
    for _ in range(exponent):
        result = result * base
    return result


def _single_power(term: tuple[Monomial, Fraction], exponent: Fraction) -> tuple[Monomial, Fraction]:
    monomial, coefficient = term
    if abs(exponent) * _bits(coefficient) > MAX_BITS and abs(coefficient) != 1:
        raise TooCostly("power")
    raised = tuple((name, old * exponent) for name, old in monomial)
    return _times((raised, coefficient ** int(exponent)), ((), Fraction(1)))


def _broken_power(term: tuple[Monomial, Fraction], exponent: Fraction) -> Quotient:
    """A root of one term. `sqrt(x^2)` is not x, so even powers of variables stay under the root."""
    monomial, coefficient = term
    names = {name for name, old in monomial if name[0] != "prime"}
    even = any(old.denominator == 1 and old % 2 == 0 for name, old in monomial if name[0] == "variable")
    if even or IMAGINARY in names or (coefficient < 0 and names - {PI, EULER}):
        base = Quotient(Sum((term,)), _ONE)
        return _whole_power(atom(("root", base, exponent.denominator)), exponent.numerator)
    result = number(1)
    if coefficient < 0:
        if exponent.denominator == 2:
            result = _whole_power(atom(IMAGINARY), exponent.numerator % 4)
        elif exponent.denominator % 2:
            result = number(-1 if exponent.numerator % 2 else 1)
        else:
            raise NotExact("root of a negative number")
    powers = [(("prime", prime), Fraction(times)) for prime, times in factors(abs(coefficient))]
    for name, old in [*powers, *monomial]:
        single = _times((((name, old * exponent),), Fraction(1)), ((), Fraction(1)))
        result = result * Quotient(_collect([single]), _ONE)
    return result


def _symbolic_power(term: tuple[Monomial, Fraction], exponent: Quotient) -> Quotient:
    r"""`2^{x+1}` as `2 * 2^x`: one atom for every prime and every term of the exponent."""
    monomial, coefficient = term
    if coefficient <= 0 or exponent.below != _ONE:
        return atom(("power", Quotient(Sum((term,)), _ONE), exponent))
    powers: list[tuple[Atom, Fraction]] = [(("prime", prime), Fraction(times)) for prime, times in factors(coefficient)]
    result = number(1)
    for name, old in [*powers, *monomial]:
        base = number(int(str(name[1]))) if name[0] == "prime" else atom(name)
        for part, times in exponent.above.terms:
            if not part:
                result = result * power(base, number(times * old))
                continue
            raised = ("power", base, Quotient(Sum(((part, Fraction(1)),)), _ONE))
            result = result * Quotient(Sum(((((raised, times * old),), Fraction(1)),)), _ONE)
    return result


@lru_cache(maxsize=4096)  # of numbers, not of texts: the same radicands come back in every sum
def factors(value: Fraction) -> tuple[tuple[int, int], ...]:
    """Primes of a positive rational with their exponents.

    Raises:
        TooCostly: A factor is too large to be found by trial.
    """
    found: dict[int, int] = {}
    for side, sign in ((value.numerator, 1), (value.denominator, -1)):
        rest, divisor = side, 2
        if rest.bit_length() > 200:
            raise TooCostly("factors")
        while divisor <= MAX_FACTOR and divisor * divisor <= rest:
            while rest % divisor == 0:
                rest //= divisor
                found[divisor] = found.get(divisor, 0) + sign
            divisor += 1
        if rest > MAX_FACTOR**2:
            raise TooCostly("factors")
        if rest > 1:
            found[rest] = found.get(rest, 0) + sign
    return tuple(sorted(found.items()))
