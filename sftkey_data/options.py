"""Options as frozen dataclasses: one field is a flag, its help, its limits, and its place in a record."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from sftkey_data.errors import SFTKeyError, nearest

LARGEST = 2**63 - 1
"""What Arrow, torch and Python's own counters take at most."""
MOST_WORKERS = 1024


class Panel(StrEnum):
    """Where an option stands in the help of a verb; the panels come in this order, in every program."""

    IN = "What goes in"
    OUT = "What comes out"
    FORMAT = "Format"
    GENERATION = "Generation"
    GRADING = "Grading"
    SPEED = "Speed"
    SAFETY = "Safety"
    OTHER = "Other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a field is besides its type: `workers: Annotated[int, Option(help="Processes.", min=1)] = 1`."""

    help: str
    panel: Panel = Panel.OTHER
    rare: bool = False
    """Only `--help-all` shows it."""
    metavar: str | None = None
    """What stands for the value in `--help`; None: its choices, or a word for its type."""
    flag: str | None = None
    """As typer takes it, for example `--chat/--no-chat`; None: from the field's name."""
    argument: bool = False
    """Given by its place, without a flag."""
    min: float | None = None
    above: float | None = None
    max: float | None = None
    range_shown: bool = False
    """`--help` shows min and max, and what is outside is wrong usage, with exit 2; else `check_values` says it."""
    json: bool = False
    """The VALUE of NAME=VALUE is read as JSON where it is JSON; `True` and `False` are booleans too."""
    record: str | None = None
    """Part of a run's record, and so of its identity, that holds the value."""
    flag_only: bool = False
    """Of the command line alone; the Python interface has no keyword for it."""


def options_of(kind: Any) -> Iterator[tuple[Field[Any], Any, Option | None]]:
    """Every field of an options dataclass with its bare type; a field without an `Option` has no flag."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        bare, *said = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        yield field, bare, next((option for option in said if isinstance(option, Option)), None)


def choices_of(hint: Any) -> tuple[str, ...]:
    """What a `Literal`, alone or beside None, allows; empty for other types."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(choice for member in get_args(hint) for choice in choices_of(member))
    return get_args(hint) if get_origin(hint) is Literal else ()


def check_values(options: Any) -> None:
    """Refuse values outside their choices or limits, and numbers that nothing can count to; None is always inside.

    Raises:
        SFTKeyError: Names the first such field, what was found and what is expected.
    """
    for field, hint, option in options_of(type(options)):
        value = getattr(options, field.name)
        if is_dataclass(hint):
            check_values(value)
        elif option is not None and value is not None:
            if (known := choices_of(hint)) and value not in known:
                flag = option.flag or f"--{field.name.replace('_', '-')}"
                expected = f"expected {' or '.join(known)}{nearest(str(value), known)}"
                raise SFTKeyError(f"{flag}: found {value!r}, {expected}")
            _check_limits(field.name, value, option)


def _check_limits(name: str, value: Any, option: Option) -> None:
    limits = {"at least": option.min, "more than": option.above, "at most": option.max}
    stated = " and ".join(f"{words} {limit}" for words, limit in limits.items() if limit is not None)
    inside = (
        (option.min is None or value >= option.min)  # positive, as no comparison with nan holds
        and (option.above is None or value > option.above)
        and (option.max is None or value <= option.max)
    )
    if not inside:
        raise SFTKeyError(f"{name} is {value}, expected {stated}")
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise SFTKeyError(f"{name} is {value}, expected at most {LARGEST}")


def recorded(options: Any, part: str) -> dict[str, Any]:
    """The values, by name, of the fields that belong to a part of the record."""
    said = options_of(type(options))
    return {field.name: getattr(options, field.name) for field, _, option in said if option and option.record == part}
