"""Reading a user's TOML file into a checked type; every fault is one line that names the file and the key."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.regular_file import regular

T = TypeVar("T")


def load_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file; an `SFTKeyError` where it is missing or not TOML."""
    try:
        return tomllib.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SFTKeyError(f"{what} file not found: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise SFTKeyError(f"{path}: not a readable TOML file: {error}") from None


def read_toml(path: Path, kind: type[T], *, what: str, defaults: Mapping[str, Any] | None = None) -> T:
    """Read a TOML file as `kind`, refusing unknown keys.

    Raises:
        SFTKeyError: Missing file, broken TOML, an unknown key (with the nearest known one), a wrong value.
    """
    return validate({**(defaults or {}), **load_toml(path, what)}, kind, where=str(path))


def validate(values: Mapping[str, Any], kind: type[T], *, where: str) -> T:
    """Check `values` against a pydantic model or a dataclass; the first fault becomes one line."""
    try:
        return cast(T, _adapter(cast(Any, kind)).validate_python(dict(values)))
    except ValidationError as error:
        raise SFTKeyError(f"{where}: {_first_fault(error, kind)}") from None


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once for each kind: it takes longer than many validations."""
    return TypeAdapter(kind)


_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def _keys(kind: Any, path: Sequence[int | str]) -> list[str]:
    """The keys of the table at a path inside a model or dataclass; none where it has no fixed ones."""
    of_dataclass = {field.name: field for field in fields(kind)} if is_dataclass(kind) else {}
    known = getattr(kind, "model_fields", of_dataclass)
    if not path:
        return list(known)
    if get_origin(kind) in (dict, list, tuple):  # of tables, which have an index or a name before their keys
        return next((found for one in get_args(kind) if (found := _keys(one, path[1:]))), [])
    field = known.get(str(path[0]))
    hint = getattr(field, "annotation", None) or getattr(field, "type", None)
    return next((found for one in (hint, *get_args(hint)) if (found := _keys(one, path[1:]))), [])


def _first_fault(error: ValidationError, kind: type[Any]) -> str:
    """The fault to show: a misspelt key before the missing one that it stands for."""
    faults = error.errors()
    fault = next((f for f in faults if f["type"] in _UNKNOWN_KEY), faults[0])
    # pydantic names the member of a union too, for example `literal['number','math']`
    key = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("literal["))
    if fault["type"] in _UNKNOWN_KEY:
        known = _keys(kind, fault["loc"][:-1])
        hint = f"{nearest(str(fault['loc'][-1]), known)}; known: {', '.join(known)}" if known else ""
        return f"unknown key {key!r}{hint}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"key {key!r} is missing"
    prefix = f"{key}: " if key else ""
    if fault["type"] == "value_error":  # of a check of ours, which says all
        return f"{prefix}{fault['msg'].removeprefix('Value error, ')}"
    return f"{prefix}{fault['msg']}, found {value_text(fault['input'])}"


def value_text(value: object) -> str:
    """A value of a file as messages show it; `a.a.a…` is a table as deep as the line is long."""
    try:
        return repr(value)
    except RecursionError:
        return "a table nested too deeply"
