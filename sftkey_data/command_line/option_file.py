"""Options of a verb from a TOML file, `--config FILE`: the keys are the options' names, and the command line wins."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperArgument, TyperOption

from sftkey_data.config import load_toml
from sftkey_data.errors import SFTKeyError, nearest

RUNS_CODE = ("metric",)
"""Options that name a program of the user's to run: a file that somebody else wrote may not."""

_SCALARS = (str, int, float)


def options_of_file(path: Path, params: Sequence[TyperArgument | TyperOption]) -> dict[str, Any]:
    """What a file gives to the parameters of a verb, by their names, as the command line would.

    Raises:
        SFTKeyError: It is missing or no TOML; a key is unknown, or its value of another kind than the option's.
    """
    known = {_key(param): param for param in params if _key(param) not in ("config", "help")}
    found: dict[str, Any] = {}
    for key, value in load_toml(path, "config").items():
        name = key.replace("_", "-")
        if name not in known:
            raise SFTKeyError(f"{path}: unknown key {key!r}{nearest(name, known)}; known: {', '.join(known)}")
        if name in RUNS_CODE:
            raise SFTKeyError(f"{path}: {key}: what runs a file's code is named on the command line alone")
        param = known[name]
        found[str(param.name)] = _value(param, value, f"{path}: {key}")
    return found


def config_record(path: Path | None) -> dict[str, Any] | None:
    """The file, its digest and what it says, for the records; None where there is none."""
    if path is None:
        return None
    values = json.loads(json.dumps(load_toml(path, "config"), default=str))
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "values": values}


def _key(param: TyperArgument | TyperOption) -> str:
    """`max-new-tokens` of `--max-new-tokens`; `run-a` of the argument RUN_A."""
    name = param.opts[0] if isinstance(param, TyperOption) else str(param.name)
    return name.lstrip("-").replace("_", "-")


def _value(param: TyperArgument | TyperOption, value: Any, where: str) -> Any:
    if isinstance(param, TyperOption) and param.is_flag:
        return _of(value, bool, "true or false", where)
    if getattr(param, "multiple", False) or param.nargs == -1:
        if isinstance(value, Mapping):
            return [f"{name}={_text(one, f'{where}.{name}', as_json=True)}" for name, one in value.items()]
        return [_text(one, where) for one in _of(value, list, "a list", where)]
    return _text(value, where)


def _of(value: Any, kind: type, said: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise SFTKeyError(f"{where}: found {value!r}, expected {said}")
    return value


def _text(value: Any, where: str, *, as_json: bool = False) -> str:
    """A value as it is written on the command line, where its option reads and checks it."""
    if as_json and not isinstance(value, str):
        return json.dumps(value, default=str)
    if isinstance(value, bool) or not isinstance(value, _SCALARS):
        raise SFTKeyError(f"{where}: found {value!r}, expected a text or a number")
    return str(value)
