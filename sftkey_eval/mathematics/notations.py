r"""Answers with a shape of their own: no solution, bases, ratios, matrices, equations."""

import re
from dataclasses import dataclass

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.sequences import split_top_level, unbracket
from sftkey_eval.mathematics import algebra
from sftkey_eval.mathematics.algebra import NotExact, Quotient
from sftkey_eval.mathematics.exact_equality import equal
from sftkey_eval.mathematics.expressions import read_value
from sftkey_eval.mathematics.front_end import ROW_END

MAX_NOTATION_CHARS = 2_000
MAX_CELLS = 100

_NOTHING = {
    "empty": r"\emptyset|\varnothing|∅|\{\}|{}|empty set|the empty set|no solution|no solutions|no real solution"
    "|no real solutions|there is no solution|there are no solutions|no roots|no real roots",
    "undefined": "undefined|not defined|does not exist|doesn't exist|dne",
    "none": "none",
}
_KIND_OF_NOTHING = {spelling: kind for kind, spellings in _NOTHING.items() for spelling in spellings.split("|")}

_BASE_NAMES = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_BASE_WORDS = {word: base for base, word in enumerate(_BASE_NAMES.split(), 2)}
_BASE_WORDS |= {"binary": 2, "octal": 8, "hexadecimal": 16}
_BASE = re.compile(
    r"(?P<sign>-?)(?P<open>\(?)(?P<digits>[0-9A-Fa-f]{1,200})(?(open)\)?|)\s*+"
    r"(?:_\s*+\{?\s*+(?:\\text\s*+\{)?\s*+\(?(?:base[\s~]*+)?(?P<below>[0-9]{1,2}|[a-z]{3,8})\)?\s*+\}?\s*+\}?"
    r"|(?:\(\s*+)?(?:in\s++)?base[\s~-]*+(?P<beside>[0-9]{1,2}|[a-z]{3,8})\s*+\)?"
    r"|(?:\(\s*+)?in\s++(?P<named>binary|octal|hexadecimal)\s*+\)?)",
    re.IGNORECASE,
)
_RATIO = re.compile(r"[^:]{1,60}(?::[^:]{1,60}){1,4}+")
_TIME = re.compile(r"\d{1,2}(?::0\d)+")  # 1:00 and 12:00 are times of day
_MATRIX = re.compile(r"\\begin\s*\{([pbB]?matrix|array)\}\s*(?:\{[clr|\s]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_AROUND_MATRIX = re.compile(r"\\(?:left|right)\s*[\[\]().|]|^[\[(]|[\])]$")


def nothing_kind(answer: Answer) -> str | None:
    """Which kind of no answer is stated: `empty`, `undefined` or the ambiguous `none`; None for an answer."""
    return _KIND_OF_NOTHING.get(" ".join(answer.plain.casefold().split()))


_PREFIXED = re.compile(r"(-?)0(?:[xX]([0-9A-Fa-f]{1,200})|[bB]([01]{1,200}))")


@dataclass(frozen=True, slots=True)
class BasedNumber:
    """A whole number with its base: its value, and its digits in capitals without leading zeros."""

    value: int
    base: int
    digits: str


def read_base(answer: Answer) -> BasedNumber | None:
    """`1011_2`, `25 base 7`, `0xFF` or `0b101`; None for no number with a base, or a digit that the base lacks."""
    text = answer.stripped
    if prefixed := _PREFIXED.fullmatch(text):
        sign, hexadecimal, binary = prefixed.groups()
        return _based(sign, hexadecimal or binary, 16 if hexadecimal else 2)
    if "_" not in text and _BASED.search(text) is None:
        return None
    found = _BASE.fullmatch(" ".join(_UPRIGHT.sub(r" \1 ", text).split()) if "\\text" in text else text)
    if found is None:
        return None
    name = (found["below"] or found["beside"] or found["named"]).lower()
    base = _BASE_WORDS.get(name) or (int(name) if name.isdecimal() else 0)
    return _based(found["sign"], found["digits"], base)


_BASED = re.compile(r"\b(?:base|binary|octal|hexadecimal)\b", re.IGNORECASE)
_UPRIGHT = re.compile(r"\\text\s*\{([^{}]*)\}")


def _based(sign: str, digits: str, base: int) -> BasedNumber | None:
    try:
        value = int(digits, base) if base >= 2 else None
    except ValueError:
        return None
    return None if value is None else BasedNumber(-value if sign else value, base, sign + _significant(digits))


def bare_digits(answer: Answer) -> str:
    """The digits of an answer that is nothing else, as `BasedNumber` has them; empty for any other."""
    found = _BARE_DIGITS.fullmatch(answer.stripped)
    return found[1] + _significant(found[2]) if found else ""


def _significant(digits: str) -> str:
    return digits.upper().lstrip("0") or "0"


_BARE_DIGITS = re.compile(r"(-?)([0-9A-Fa-f]{1,200})")


def read_ratio(answer: Answer) -> tuple[Quotient, ...] | None:
    """The terms of `3:4`; None where it is no ratio."""
    text = answer.plain
    if not _RATIO.fullmatch(text) or _TIME.fullmatch(text):
        return None
    values = [read_value(part) for part in text.split(":")]
    terms = tuple(value for value in values if value is not None)
    return terms if len(terms) == len(values) and all(term.above.terms for term in terms) else None


def same_ratio(gold: tuple[Quotient, ...], predicted: tuple[Quotient, ...]) -> bool | None:
    """Whether two ratios are proportional."""
    if len(gold) != len(predicted):
        return False
    try:
        crossed = [equal(gold[0] * b, predicted[0] * a) for a, b in zip(gold, predicted, strict=True)]
    except NotExact:
        return None
    return False if False in crossed else (None if None in crossed else True)


def read_matrix(answer: Answer) -> tuple[tuple[Quotient, ...], ...] | None:
    r"""Rows of a `pmatrix`, `bmatrix`, `array`, or of `[[1, 2], [3, 4]]`; None for anything else, determinants too."""
    text = answer.stripped
    if len(text) > MAX_NOTATION_CHARS:
        return None
    found = _MATRIX.fullmatch(_AROUND_MATRIX.sub("", text.strip()).strip())
    rows = _matrix_rows(found.group(2)) if found else _nested_rows(answer.plain)
    if not rows or len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > MAX_CELLS:
        return None
    cells = [[read_value(cell) for cell in row] for row in rows]
    if any(cell is None for row in cells for cell in row):
        return None
    return tuple(tuple(cell for cell in row if cell is not None) for row in cells)


_IDENTITY = re.compile(r"([^A-Za-z]{0,20}?)\*?\s*I(?:_\{?\d\}?)?")


def read_identity(answer: Answer, size: int) -> tuple[tuple[Quotient, ...], ...] | None:
    """`-2I` as a matrix of that size; None for anything else."""
    found = _IDENTITY.fullmatch(answer.plain)
    factor = found.group(1).strip() if found else None
    scale = None if factor is None else read_value(f"{factor}1" if factor in ("", "-", "+") else factor)
    if scale is None:
        return None
    zero = algebra.number(0)
    return tuple(tuple(scale if row == column else zero for column in range(size)) for row in range(size))


def _matrix_rows(text: str) -> list[list[str]]:
    return [row.split("&") for row in ROW_END.split(text) if row.strip()]


def _nested_rows(text: str) -> list[list[str]]:
    brackets, inside = unbracket(text)
    if brackets != "[]" or not inside.strip().startswith("["):
        return []
    rows = []
    for part in split_top_level(inside):
        row_brackets, cells = unbracket(part.strip())
        if row_brackets != "[]":
            return []
        rows.append(split_top_level(cells))
    return rows


_SYMBOL = re.compile(r"(?<![A-Za-z\\])[A-Za-z]+(?:_(?:\{\s*\w+\s*\}|\w))?|\\(?:alpha|beta|gamma|theta)(?![A-Za-z])")
_RATIO_OF = re.compile(r"(?:\\frac(?![A-Za-z])|[\s/:{}()])*")
_SUM_OF = re.compile(r"[\s+-]*")


def read_asked(answer: Answer) -> Answer | None:
    """The right-hand side of `x + y = 17` or `AB:CD = 3:2`, whose left only names what was asked for; else None.

    `x^2 = 4` and `2x + y = 0` may stand for their solutions.
    """
    left, _, right = (part.strip() for part in answer.plain.partition("="))
    if not right or "=" in right:
        return None
    names = _SYMBOL.findall(left)
    pattern = _RATIO_OF if set("/:\\") & set(left) else _SUM_OF
    asked = len(set(names)) == len(names) > 1 and pattern.fullmatch(_SYMBOL.sub("", left)) and right != "0"
    return Answer(right) if asked else None


@dataclass(frozen=True, slots=True)
class Equation:
    """`left = right` as the difference of its sides."""

    difference: Quotient

    @property
    def is_linear(self) -> bool:
        """Every term has at most one variable, to the first power: equal lines are proportional."""
        if self.difference.is_opaque or self.difference.below != algebra.number(1).above:
            return False
        for monomial, _ in self.difference.above.terms:
            powers = [exponent for name, exponent in monomial if name[0] == "variable"]
            if len(powers) > 1 or any(exponent != 1 for exponent in powers):
                return False
        return True


def read_equation(answer: Answer) -> Equation | None:
    """An equation with one sign of equality; None for anything else."""
    sides = answer.plain.split("=")
    if len(sides) != 2:
        return None
    left, right = (read_value(side) for side in sides)
    if left is None or right is None:
        return None
    try:
        return Equation(left - right)
    except NotExact:
        return None


def same_equation(gold: Equation, predicted: Equation) -> bool | None:
    """Whether one is a multiple of the other; different lines are proven different, other curves are not."""
    if algebra.proportional(gold.difference, predicted.difference):
        return True
    irrational = any(name[0] != "variable" for side in (gold, predicted) for name in side.difference.atoms())
    return False if gold.is_linear and predicted.is_linear and not irrational else None
