"""Files that are given to us, by name: no pipe is waited for, and JSON that is nested too deeply is wrong JSON.

A folder from somewhere else can hold a named pipe in the place of a file, and reading that never ends.
"""

import json
import stat
from pathlib import Path
from typing import Any


def regular(path: Path) -> Path:
    """The path, if whoever opens it need not wait for anyone; one that is not there is left to be missed.

    Raises:
        OSError: It is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # too long, with a NUL: opening it says so
        return path
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        found = "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise OSError(f"{path}: expected a file, found {found}")  # with a number its words would be said instead
    return path


def read_json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: It cannot be read, or is no file.
        ValueError: It is no JSON, or nested too deeply.
    """
    return parse_json(regular(path).read_bytes())


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
