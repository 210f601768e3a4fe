"""A value of a row by its name: a column, or a path through what a column holds, as `response.choices.0.text`."""

from collections.abc import Mapping
from typing import Any

from sftkey_data.errors import nearest
from sftkey_data.extract.parts import Reject, Row

_ABSENT = object()


def find_field(row: Row, name: str) -> Any:
    """The value under a name; a column of just that name comes before a path.

    A number in a path counts the items of a list from 0, or from its end where it is negative.

    Raises:
        Reject: `missing_column`, with what is there.
    """
    if name in row:
        return row[name]
    value: Any = row
    for step, key in enumerate(parts := name.split(".")):
        if (inner := _inner(value, key)) is _ABSENT:
            whole, holder = f"column {name!r}", ".".join(parts[:step])
            there = _there(value)
            hint = nearest(key, map(str, value)) if isinstance(value, Mapping) else ""
            raise Reject("missing_column", f"{whole} is missing in {holder or 'this row'}{hint}, found {there}")
        value = inner
    return value


def has_field(row: Row, name: str) -> bool:
    """Whether `find_field` finds one; null counts as there."""
    try:
        find_field(row, name)
    except Reject:
        return False
    return True


def field_names(row: Row) -> list[str]:
    """The columns, and the names in those that hold an object."""
    inner = [f"{name}.{key}" for name, value in row.items() if isinstance(value, Mapping) for key in value]
    return [*row, *inner]


def _inner(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(key, _ABSENT)
    if isinstance(value, list) and key.removeprefix("-").isdecimal() and key.isascii() and len(key) < 10:
        index = int(key)
        return value[index] if -len(value) <= index < len(value) else _ABSENT
    return _ABSENT


def _there(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(map(repr, value)) or "nothing"
    return f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__
