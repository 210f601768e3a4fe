"""The keywords of a function of the Python interface, made from the options dataclasses that it takes.

`flags` makes the flags of a verb of the same dataclasses, so both have the same options and defaults: a keyword is the
flag without its dashes, `--gold-field` is `gold_field=`.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, is_dataclass
from functools import wraps
from pathlib import PurePath
from typing import Any, TypeVar, get_origin

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.options import Option, check_values, options_of

_Result = TypeVar("_Result")

BY_PLACE, BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True)
class Keyword:
    """One option as a keyword: of which field, what is said of it, and its parameter."""

    field: str
    option: Option
    parameter: inspect.Parameter


def takes_keywords(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """The function with a keyword for each option, in place of a parameter that is an options dataclass.

    An option that the command line takes by its place may be given by its place. What may be given several times takes
    one or a list. A wrong name or value is an `SFTKeyError`.
    """
    own = inspect.signature(function).parameters
    kinds = {name: parameter.annotation for name, parameter in own.items() if is_dataclass(parameter.annotation)}
    added = [keyword.parameter for kind in kinds.values() for keyword in keywords_of(kind)]
    kept = [parameter for name, parameter in own.items() if name not in kinds]
    ordered = sorted([*added, *kept], key=lambda parameter: (parameter.kind, parameter.default is not MISSING_VALUE))
    signature = inspect.Signature(ordered, return_annotation=inspect.signature(function).return_annotation)
    where = f"{function.__module__.partition('.')[0]}.{function.__name__}"

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> _Result:
        given = _bound(signature, where, arguments, keywords)
        made = {name: _made(kind, given, where) for name, kind in kinds.items()}
        return function(**{name: value for name, value in given.items() if name in own}, **made)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


MISSING_VALUE = inspect.Parameter.empty


def keywords_of(kind: Any) -> Iterator[Keyword]:
    """The options of a dataclass and of those inside it as keywords."""
    for field, hint, option in options_of(kind):
        if is_dataclass(hint):
            yield from keywords_of(hint)
        elif option is not None and not option.flag_only:
            place = BY_PLACE if option.argument else BY_NAME
            parameter = inspect.Parameter(_name(field, option), place, default=_default(field), annotation=hint)
            yield Keyword(field.name, option, parameter)


def _name(field: Field[Any], option: Option) -> str:
    """`chat` for `--chat/--no-chat`."""
    return field.name if option.flag is None else option.flag.partition("/")[0].lstrip("-").replace("-", "_")


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return MISSING_VALUE if field.default is MISSING else field.default


def _bound(
    signature: inspect.Signature, where: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    for name in keywords:
        if name not in signature.parameters:
            raise SFTKeyError(f"{where}: no option {name!r}{nearest(name, signature.parameters)}")
    try:
        return dict(signature.bind(*arguments, **keywords).arguments)
    except TypeError as error:  # too many by place, or one that must be given is not
        raise SFTKeyError(f"{where}: {error}") from None


def _made(kind: Any, given: Mapping[str, Any], where: str) -> Any:
    values: dict[str, Any] = {}
    for field, hint, option in options_of(kind):
        if is_dataclass(hint):
            values[field.name] = _made(hint, given, where)
        elif option is not None and (name := _name(field, option)) in given:
            values[field.name] = _value(given[name], hint, option)
    options = validate(values, kind, where=where)
    check_values(options)
    return options


def _value(value: Any, hint: Any, option: Option) -> Any:
    """The value as the command line gives it, so that a record of it is the same."""
    if get_origin(hint) is tuple:
        return tuple(_text(one) for one in (value if isinstance(value, list | tuple) else [value]))
    if isinstance(value, dict) and not option.json:  # `--set num=40` is text, too
        return {name: one if isinstance(one, str) else json.dumps(_text(one)) for name, one in value.items()}
    return _text(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, PurePath) else value
