"""The flags of a verb, made from the options dataclasses that it takes."""

import inspect
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, Field, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from sftkey_data.errors import SFTKeyError
from sftkey_data.options import Option, choices_of, options_of

KEYWORD_ONLY, REQUIRED = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty


def takes_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb as typer wants it: a parameter that is an options dataclass becomes the flags of its fields.

    So does a field that is a dataclass itself. A `tuple` is a flag that may be given again, a `dict` one that is given
    as NAME=VALUE. In `--help`, what must be given comes first.
    """
    hints = get_type_hints(verb, include_extras=True)
    hints.pop("return", None)
    flags: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        flags += _flags(hints[name]) if is_dataclass(hints[name]) else [parameter.replace(kind=KEYWORD_ONLY)]

    def call(**values: Any) -> None:
        verb(**{name: _made(hint, values) if is_dataclass(hint) else values[name] for name, hint in hints.items()})

    call.__name__, call.__doc__ = verb.__name__, verb.__doc__
    in_order = sorted(flags, key=lambda flag: flag.default is not REQUIRED)
    call.__signature__ = inspect.Signature(in_order)  # type: ignore[attr-defined]
    return call


def typed_words(options: Any, *, but: Collection[str] = ()) -> list[str]:
    """What is typed for the values that are not the default, as `["--split", "test"]`.

    Args:
        options: Of a dataclass as for `takes_options`.
        but: Fields that are left out, besides those that are given by their place.
    """
    words: list[str] = []
    for field, hint, option in options_of(type(options)):
        value = getattr(options, field.name)
        if option is None or option.argument or field.name in but or value == _default(field):
            continue
        flag, _, off = (option.flag or f"--{field.name.replace('_', '-')}").partition("/")
        if isinstance(value, bool):
            words += [flag if value else off]
        elif get_origin(hint) is dict:
            written = {name: json.dumps(item) if option.json else item for name, item in value.items()}
            words += [word for name, item in written.items() for word in (flag, f"{name}={item}")]
        else:
            words += [word for item in (value if get_origin(hint) is tuple else [value]) for word in (flag, str(item))]
    return words


def _flags(kind: Any) -> Iterator[inspect.Parameter]:
    for field, hint, option in options_of(kind):
        if is_dataclass(hint):
            yield from _flags(hint)
        elif option is not None:
            known, default = _as_typer_knows(hint), _default(field)
            if get_origin(known) is list and default is not REQUIRED:
                default = None  # of which `--help` says nothing
            annotation = Annotated[known, _parameter(option, field.name, hint)]  # type: ignore[valid-type]
            yield inspect.Parameter(field.name, KEYWORD_ONLY, default=default, annotation=annotation)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return REQUIRED if field.default is MISSING else field.default


def _as_typer_knows(hint: Any) -> Any:
    if get_origin(hint) in (tuple, dict):
        return list[get_args(hint)[0]]  # type: ignore[misc]
    # A choice is text to it; what is none, `check_values` says in our words and with exit 1.
    return str if choices_of(hint) else hint


def _parameter(option: Option, name: str, hint: Any) -> Any:
    known: dict[str, Any] = {"min": option.min, "max": option.max} if option.range_shown else {}
    known |= {"help": option.help, "rich_help_panel": option.panel, "hidden": option.rare}
    if option.argument:
        return typer.Argument(metavar=option.metavar or name.upper(), **known)
    # typer refuses a word for the value of a flag that has none
    metavar = None if hint is bool else option.metavar or "|".join(choices_of(hint)) or _type_word(hint)
    return typer.Option(*([option.flag] if option.flag else []), metavar=metavar, **known)


_TYPE_WORDS = {int: "N", float: "X", Path: "PATH"}


def _type_word(hint: Any) -> str:
    if get_origin(hint) is dict:
        return "NAME=VALUE"
    members = get_args(hint) if get_origin(hint) in (Union, UnionType, tuple) else (hint,)
    return next((_TYPE_WORDS[member] for member in members if member in _TYPE_WORDS), "TEXT")


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass, from typer's values by the names of the fields."""
    made: dict[str, Any] = {}
    for field, hint, option in options_of(kind):
        if is_dataclass(hint):
            made[field.name] = _made(hint, values)
        elif option is not None:
            value = values[field.name]
            if get_origin(hint) is tuple:
                value = tuple(value or ())
            elif get_origin(hint) is dict:
                pairs = [_assignment(option.flag or field.name, text) for text in value or ()]
                value = {name: _json(text) if option.json else text for name, text in pairs}
            made[field.name] = value
    return kind(**made)


def _assignment(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SFTKeyError(f"{flag} {text!r}: expected NAME=VALUE")
    return name, value


def _json(text: str) -> Any:
    """The value that a text is in JSON, else the text; no NaN, which a manifest could not hold."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(name: str) -> None:
    raise ValueError(name)
