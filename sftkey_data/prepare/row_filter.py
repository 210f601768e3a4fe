"""`--where`: only some rows of a source are wanted; the others are rejects by design, under the reason `filtered`."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import regex

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.cells import cell_text
from sftkey_data.extract.fields import find_field
from sftkey_data.extract.parts import Parts, Reject, Row
from sftkey_data.mapping.toml_mapping import REGEX_SECONDS
from sftkey_data.registry import Dataset

FILTERED = "filtered"
_CONDITION = re.compile(r"\s*([^=<>!~]+?)\s*(!=|<=|>=|!~|=|<|>|~)(.*)", re.DOTALL)
_ORDERS: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--where`: a column, or a path in one, a sign and a value."""

    column: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{self.value}"

    def holds(self, row: Row) -> bool:
        """Whether a row is wanted. Null equals nothing, and no pattern is found in it.

        Raises:
            Reject: There is no such column, it holds neither text nor a number, or is compared and holds no number.
        """
        cell = find_field(row, self.column)
        if self.sign in _ORDERS:
            number = None if cell is None else _number(cell_text(cell, self.column))
            if number is None:
                raise Reject("filter_without_number", f"{self.column} must be a number for {self}, found {cell!r}")
            return _ORDERS[self.sign](number, Decimal(self.value))
        met = cell is not None and self._met(cell)
        return met != self.sign.startswith("!")

    def _met(self, cell: Any) -> bool:
        found = cell_text(cell, self.column)
        if self.sign.endswith("="):
            is_truth = isinstance(cell, bool)
            return found.lower() == self.value.lower() if is_truth else found == self.value
        try:
            return regex.search(self.value, found, timeout=REGEX_SECONDS) is not None
        except TimeoutError:
            raise Reject("regex_timeout", f"{self} took over {REGEX_SECONDS} s on a row") from None


def parse_condition(text: str) -> Condition:
    """The condition that a text of `--where` is.

    Raises:
        SFTKeyError: It is none.
    """
    if (found := _CONDITION.fullmatch(text)) is None:
        raise SFTKeyError(f"--where {text!r}: expected COLUMN=VALUE, or != < <= > >= ~ !~ in the place of =")
    column, sign, value = found.groups()
    condition = Condition(column, sign, value.strip())
    if sign in _ORDERS and _number(condition.value) is None:
        raise SFTKeyError(f"--where {text!r}: expected a number behind {sign}, found {condition.value!r}")
    if sign.endswith("~"):
        try:
            regex.compile(condition.value)
        except regex.error as error:
            raise SFTKeyError(f"--where {text!r}: {condition.value!r} is no regular expression: {error}") from None
    return condition


def only_where(dataset: Dataset, conditions: Sequence[Condition]) -> Dataset:
    """The dataset as it reads only rows of which all conditions hold; `filtered` is the reason of the others."""
    if not conditions:
        return dataset
    return replace(
        dataset,
        extract=partial(_extract_where, dataset.extract, tuple(conditions)),
        expected_rejects=dataset.expected_rejects | {FILTERED},
    )


def _extract_where(extract: Callable[[Row], Parts], conditions: Sequence[Condition], row: Row) -> Parts:
    for condition in conditions:
        if not condition.holds(row):
            raise Reject(FILTERED, f"{condition} does not hold")
    return extract(row)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
