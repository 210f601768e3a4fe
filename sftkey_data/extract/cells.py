"""A cell of a table as text: a string as it is, a number as the one decimal that says exactly what the cell holds."""

import math
from decimal import Decimal

from sftkey_data.extract.parts import Reject, Row, text

EXACT_DIGITS = 15  # every decimal of so many digits survives a double; one of more may be another number, rounded


def text_or_number(row: Row, column: str) -> str:
    """The string in `column`, or its number written out: 145.0 as `145`, a boolean as `True` or `False`.

    Raises:
        Reject: As `text` does; `not_a_number` for NaN and infinities, `inexact_number` for a float of which no decimal
            of 15 digits reads back, as 0.1 + 0.2 or an integer that a float has rounded.
    """
    value = row.get(column)
    if isinstance(value, bool):
        return str(value)
    return number_text(value, column) if isinstance(value, int | float | Decimal) else text(row, column)


def number_text(value: float | Decimal, column: str) -> str:
    """A number as `text_or_number` writes it.

    Raises:
        Reject: `not_a_number` or `inexact_number`.
    """
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise Reject("not_a_number", f"{column} must be a string or a number, found {value}")
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if isinstance(value, float) and (len(exact.normalize().as_tuple().digits) > EXACT_DIGITS or _rounded(value, exact)):
        raise Reject(
            "inexact_number",
            f"{column} holds the float {value!r}, which no decimal of {EXACT_DIGITS} digits is: write it as text",
        )
    if value == int(value):
        return str(int(value))
    return repr(value) if isinstance(value, float) else format(value, "f")


def _rounded(value: float, exact: Decimal) -> bool:
    """Whether an integer is another one than its shortest decimal says, as 1e23 is."""
    return value.is_integer() and int(value) != exact
