"""A cell of a table as text: a string as it is, a number as the one decimal that says exactly what the cell holds."""

import math
from decimal import Decimal

import numpy as np

from sftkey_data.extract.fields import find_field
from sftkey_data.extract.parts import Reject, Row, text

EXACT_DIGITS = 15  # every decimal of so many digits survives a double; one of more may be another number, rounded
MAX_PLAIN = 40  # characters; a number that takes more is written with an exponent

CellNumber = int | float | Decimal | np.number


def text_or_number(row: Row, column: str) -> str:
    """The string in `column` (or at a path, see `find_field`), or its number: 145.0 as `145`, a boolean as `True`.

    Raises:
        Reject: As `text` does; `not_a_number` for NaN and infinities, `inexact_number` for a float of which no decimal
            of 15 digits reads back, as 0.1 + 0.2 or an integer that a float has rounded.
    """
    return cell_text(find_field(row, column), column)


def cell_text(value: object, what: str) -> str:
    """A value as `text_or_number` writes it; `what` names its place in a message.

    Raises:
        Reject: As of `text_or_number`.
    """
    if isinstance(value, bool | np.bool_):
        return str(value)
    return number_text(value, what) if isinstance(value, CellNumber) else text({what: value}, what)


def whole_number(row: Row, column: str) -> int:
    """The integer in `column`, as an index is; also 2.0, as a column with nulls holds it.

    Raises:
        Reject: `wrong_type` for anything else, a boolean or a text too.
    """
    value = find_field(row, column)
    if isinstance(value, CellNumber) and not isinstance(value, bool | np.bool_):
        written = number_text(value, column)
        if written.removeprefix("-").isdigit():
            return int(written)
    raise Reject("wrong_type", f"{column} must be an integer, found {value!r}")


def number_text(value: CellNumber, column: str) -> str:
    """A number as `text_or_number` writes it: the shortest text, so that 145.50 is `145.5` whoever stored it.

    Raises:
        Reject: `not_a_number` or `inexact_number`.
    """
    if isinstance(value, int | np.integer):
        return str(int(value))
    if not isinstance(value, Decimal):
        value = float(value) if isinstance(value, float) else float(str(value))  # a 32-bit 0.1 reads 0.1
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        raise Reject("not_a_number", f"{column} must be a string or a number, found {value}")
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if isinstance(value, float) and (_num_digits(exact) > EXACT_DIGITS or _rounded(value, exact)):
        raise Reject(
            "inexact_number",
            f"{column} holds the float {value!r}, which no decimal of {EXACT_DIGITS} digits is: write it as text",
        )
    return _shortest(exact)


def _shortest(exact: Decimal) -> str:
    """Without zeros at its end and, where that is not long, without an exponent."""
    sign, digits, exponent = exact.as_tuple()
    kept = "".join(map(str, digits)).rstrip("0")
    if not kept:
        return "0"
    bare = Decimal((sign, tuple(map(int, kept)), int(exponent) + len(digits) - len(kept)))  # no context rounds it
    length = len(kept) + abs(int(exponent))
    return format(bare, "f") if length <= MAX_PLAIN else str(bare)


def _num_digits(exact: Decimal) -> int:
    return len("".join(map(str, exact.as_tuple().digits)).rstrip("0"))


def _rounded(value: float, exact: Decimal) -> bool:
    """Whether an integer is another one than its shortest decimal says, as 1e23 is."""
    return value.is_integer() and int(value) != exact
