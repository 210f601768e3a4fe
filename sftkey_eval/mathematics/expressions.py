r"""Exact values from LaTeX and plain mathematics: a small parser whose every operation is capped.

Text is read, never evaluated: what the grammar does not know (a word, a call, an ambiguous `1/2x`) has no value.
"""

import math
import re
from fractions import Fraction

from sftkey_eval.answers.markup import plain
from sftkey_eval.answers.units import read_unit
from sftkey_eval.mathematics import algebra
from sftkey_eval.mathematics.algebra import NotExact, Quotient
from sftkey_eval.mathematics.exact_equality import FUNCTIONS
from sftkey_eval.mathematics.front_end import INFINITY

MAX_EXPRESSION_CHARS = 400
MAX_EXPRESSION_DEPTH = 20
MAX_FACTORIAL = 300
MAX_RADIANS = 7  # a full turn is 6.28; the 30 of `sin 30` is more likely in degrees

_LETTERS = "alpha beta gamma delta theta lambda mu sigma phi omega pi"
_SUPERSCRIPTS = str.maketrans(
    {"²": "^2", "³": "^3", "√": "\\sqrt ", "×": "*", "÷": "/", "∞": "\\infty "}
    | {letter: f"\\{name} " for letter, name in zip("αβγδθλμσφωπ", _LETTERS.split(), strict=True)}
)
_RESPELLED = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])"), "|"),
    (re.compile(r"(?<!\\)\bsqrt\s*(?=\()"), r"\\sqrt"),
    (INFINITY, r"\\infty "),
    (re.compile(r"(?<!\\)(?<![A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"\\arc(sin|cos|tan)"), r"\\a\1"),
    (re.compile(r"\\var(?=theta|phi|epsilon)"), r"\\"),
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[1-9]\d{0,2}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?+|\.\d++)"
    r"|\\(?P<command>[A-Za-z]++)|(?P<word>[A-Za-z]++)|(?P<symbol>[-+*/^!()\[\]{}|_]))"
)
_DIGIT = re.compile(r"\s*(\d)")
_SUBSCRIPT = re.compile(r"_(?:\{\s*([A-Za-z0-9]{1,6})\s*\}|([A-Za-z0-9]))")
_CLOSING = {"(": ")", "{": "}"}  # `[5]` may be a list
_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_CONSTANTS = {"pi": algebra.PI, "infty": ("oo",)}
_FUNCTION_NAMES = frozenset({*FUNCTIONS, *_NAMES, "log", "sec", "csc", "cot", "exp"}) - {"abs"}
_SHORT = "or in if is it no to of on as at an by so do we am pm"
_SHORT_WORDS = frozenset(_SHORT.split())
_GREEK_NAMES = "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu rho sigma tau phi chi psi omega"
_GREEK = frozenset(_GREEK_NAMES.split())


def read_value(text: str) -> Quotient | None:
    r"""The exact value that makes up all of `text`, with `x`, `\pi`, roots, powers; None where it is anything else."""
    if len(text) > MAX_EXPRESSION_CHARS:
        return None
    text = plain(text).translate(_SUPERSCRIPTS)
    for pattern, spelling in _RESPELLED:
        text = pattern.sub(spelling, text)
    if not text or len(text) > 2 * MAX_EXPRESSION_CHARS:
        return None
    parser = _Parser(text)
    try:
        value = parser.sum()
    except (NotExact, OverflowError):
        return None
    return value if parser.at_end() else None


class _Parser:
    """Recursive descent over one text; `position` is the only state that moves."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def at_end(self) -> bool:
        return not self._text[self._position :].strip()

    def sum(self) -> Quotient:
        self._depth += 1
        if self._depth > MAX_EXPRESSION_DEPTH:
            raise NotExact("nested too deep")
        total = self._signed_product()
        while (sign := self._take("+", "-")) is not None:
            product = self._product()
            total = total + (-product if sign == "-" else product)
        self._depth -= 1
        return total

    def _signed_product(self) -> Quotient:
        sign = self._take("+", "-")
        product = self._product()
        return -product if sign == "-" else product

    def _product(self) -> Quotient:
        value = self._factor()
        divided = False
        while True:
            operator = self._take("*", "/")
            if operator is None:
                in_brackets = self._take("[") is not None  # behind a factor it begins no list
                if not (in_brackets or self._begins_factor()):
                    return value
                if divided:
                    raise NotExact("1/2x has two readings")
                value = value * (self._until("]") if in_brackets else self._factor())
            else:
                negative = self._take("-") is not None
                factor = self._factor()
                factor = -factor if negative else factor
                value = value / factor if operator == "/" else value * factor
                divided = operator == "/"

    def _begins_factor(self) -> bool:
        found = self._peek()
        if found is None:
            return False
        if found["number"]:
            raise NotExact("a number behind a factor")
        return bool(found["command"] or found["word"]) or found["symbol"] in _CLOSING

    def _factor(self) -> Quotient:
        base = self._base()
        while self._take("!"):
            base = _factorial(base)
        if self._take("^"):
            base = algebra.power(base, self._exponent())
            if self._take("!"):
                raise NotExact("2^3! has two readings")
        return base

    def _exponent(self) -> Quotient:
        """What is raised: `2^3^2` is `2^{3^2}`."""
        negative = self._take("-") is not None
        value = self._base()
        if self._take("^"):
            value = algebra.power(value, self._exponent())
        return -value if negative else value

    def _base(self) -> Quotient:
        found = self._next()
        if found["number"]:
            return self._number(found["number"])
        if found["command"]:
            return self._command(found["command"])
        if found["word"]:
            return self._word(found)
        opening = found["symbol"]
        if opening == "|":
            return _absolute(self._until("|"))
        if opening not in _CLOSING:
            raise NotExact(opening)
        return self._until(_CLOSING[opening])

    def _number(self, digits: str) -> Quotient:
        value = algebra.number(Fraction(digits.replace(",", "")))
        start = self._position
        if digits.isdigit() and (found := self._peek()) and found["command"] == "frac":
            part = self._base().constant
            if part is not None and part.denominator > 1:
                if not 0 < part < 1:
                    raise NotExact("neither a mixed number nor clearly a product")
                return value + algebra.number(part)
            self._position = start
        return value

    def _command(self, name: str) -> Quotient:
        if name == "frac":
            above = self._argument()
            return above / self._argument()
        if name == "sqrt":
            degree = self._until("]") if self._take("[") else algebra.number(2)
            return algebra.power(self._argument(), algebra.number(1) / degree)
        if name in ("binom", "dbinom", "tbinom"):
            return _binomial(self._argument(), self._argument())
        if name in _FUNCTION_NAMES:
            return self._function(name)
        if name in _CONSTANTS:
            return algebra.atom(_CONSTANTS[name])
        if name in _GREEK:
            return algebra.variable(name + self._subscript())
        raise NotExact(name)

    def _word(self, found: re.Match[str]) -> Quotient:
        word = found["word"]
        if word in _FUNCTION_NAMES:
            return self._function(word)
        if len(word) > 2 or word.lower() in _SHORT_WORDS or (len(word) == 2 and read_unit(word, spaced=True)):
            raise NotExact(word)  # a word of a language, not a product
        self._position = found.start("word") + 1  # `ab` is a times b: only the first letter is taken
        letter = word[0]
        if letter in "ie" and self._text[self._position : self._position + 1] != "_":
            return algebra.atom((letter,))
        return algebra.variable(letter + self._subscript())

    def _subscript(self) -> str:
        found = _SUBSCRIPT.match(self._text, self._position)
        if found is None:
            return ""
        self._position = found.end()
        return "_" + (found.group(1) or found.group(2))

    def _function(self, name: str) -> Quotient:
        base = None
        if name == "log" and self._take("_"):
            base = self._argument()
        exponent = self._exponent() if self._take("^") else None
        found = self._peek()
        if found is not None and found["symbol"] in _CLOSING:
            argument = self._base()
        else:
            argument = self._factor()
            while (found := self._peek()) is not None and self._continues(found):
                argument = argument * self._factor()
        if exponent is not None and exponent.constant == -1:
            raise NotExact("an inverse function or a reciprocal")
        value = _apply(name, argument, base)
        return value if exponent is None else algebra.power(value, exponent)

    def _continues(self, found: re.Match[str]) -> bool:
        """Whether `2x` in `sin 2x` goes on; another function or a bracket ends it."""
        return bool((found["command"] or found["word"] or "sin") not in _FUNCTION_NAMES)

    def _argument(self) -> Quotient:
        """A group, one command, one letter or, as LaTeX has it, one digit."""
        if found := _DIGIT.match(self._text, self._position):
            self._position = found.end()
            return algebra.number(int(found.group(1)))
        return self._base()

    def _until(self, closing: str) -> Quotient:
        value = self.sum()
        if self._take(closing) is None:
            raise NotExact("unbalanced")
        return value

    def _peek(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._position)

    def _next(self) -> re.Match[str]:
        found = self._peek()
        if found is None:
            raise NotExact("not mathematics")
        self._position = found.end()
        return found

    def _take(self, *symbols: str) -> str | None:
        found = self._peek()
        if found is None or found["symbol"] not in symbols:
            return None
        self._position = found.end()
        return str(found["symbol"])


def _whole(value: Quotient) -> int:
    constant = value.constant
    if constant is None or constant.denominator != 1 or not 0 <= constant <= MAX_FACTORIAL:
        raise NotExact("factorial")
    return int(constant)


def _factorial(value: Quotient) -> Quotient:
    return algebra.number(math.factorial(_whole(value)))


def _binomial(above: Quotient, below: Quotient) -> Quotient:
    return algebra.number(math.comb(_whole(above), _whole(below)))


def _absolute(value: Quotient) -> Quotient:
    constant = value.constant
    return algebra.function("abs", value) if constant is None else algebra.number(abs(constant))


def _apply(name: str, argument: Quotient, base: Quotient | None) -> Quotient:
    if name == "exp":
        return algebra.power(algebra.atom(algebra.EULER), argument)
    if name not in ("log", "ln") and argument.constant is not None and argument.constant > MAX_RADIANS:
        raise NotExact("probably degrees")
    if name in ("sec", "csc", "cot"):
        reciprocal = {"sec": "cos", "csc": "sin", "cot": "tan"}[name]
        return algebra.number(1) / algebra.function(reciprocal, argument)
    if name == "log":
        if base is None:
            raise NotExact("log has two readings")
        return _logarithm(argument) / _logarithm(base)
    return _logarithm(argument) if name == "ln" else algebra.function(_NAMES.get(name, name), argument)


def _logarithm(value: Quotient) -> Quotient:
    """Of a rational number: over its primes, so that `ln 8` is `3 ln 2`."""
    constant = value.constant
    if value == algebra.atom(algebra.EULER):
        return algebra.number(1)
    if constant is None or constant <= 0:
        return algebra.function("ln", value)
    total = algebra.number(0)
    for prime, times in algebra.factors(constant):
        total = total + algebra.number(times) * algebra.function("ln", algebra.number(prime))
    return total
