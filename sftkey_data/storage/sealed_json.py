"""JSON that says itself whether it is as it was written: its last field is a digest of all the others.

The digest is over the values, however the file is laid out, and against damage, not against malice. What holds none was
made elsewhere, or before there were digests, and is read as it is.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import parse_json, regular
from sftkey_data.storage.appearing import write_bytes

DIGEST = "sftkey_digest"
CHANGED_LINE = f"a line that was changed on purpose goes without its {DIGEST}"


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as a file holds it, with its digest."""
    fields: dict[str, Any] = json.loads(json.dumps(value))
    fields.pop(DIGEST, None)
    return {**fields, DIGEST: _digest(fields)}


def sealed_file(value: Mapping[str, Any]) -> bytes:
    """The same as readable JSON, as a file of its own."""
    return _text(sealed(value), indent=2)


def sealed_line(value: Mapping[str, Any], *, allow_nan: bool = True) -> bytes:
    """The same as a line of a file of JSON lines."""
    return _text(sealed(value), allow_nan=allow_nan)


def unsealed_line(line: bytes) -> bytes:
    """A line of `sealed_line` without its digest."""
    return _text(unsealed(json.loads(line), "", ""))


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON with its digest, as `write_bytes` does."""
    write_bytes(path, sealed_file(value))


def unsealed(value: Any, where: str, mend: str) -> Any:
    """A value that was read, without its digest.

    Args:
        value: As `json.loads` gives it; what is no object, or has no digest, is returned as it is.
        where: What the message calls it.
        mend: What the user can do where it is damaged.

    Raises:
        SFTKeyError: It is not as it was written.
    """
    if not isinstance(value, dict):
        return value
    fields = {name: content for name, content in value.items() if name != DIGEST}
    if may_be_sealed(value) and value.get(DIGEST) != _digest(fields):
        raise SFTKeyError(f"{where} is not as it was written, its digest differs; {mend}")
    return fields


def read_sealed(path: Path, mend: str, content: bytes | None = None) -> Any:
    """The value of a file, without its digest; `mend` as of `unsealed`.

    Args:
        path: The file.
        mend: What the user can do where it is damaged.
        content: Its bytes, where they are known already.

    Raises:
        OSError: It cannot be read.
        SFTKeyError: It is no JSON, or not as it was written.
    """
    try:
        value = parse_json(regular(path).read_bytes() if content is None else content)
    except ValueError as error:
        raise SFTKeyError(f"{path}: broken JSON: {error}; {mend}") from None
    return unsealed(value, str(path), mend)


def read_sealed_lines(path: Path, mend: str, content: bytes | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, without their digests; `mend` and `content` as of `read_sealed`.

    A last line without its end was cut by a kill and is no line.

    Raises:
        OSError: It cannot be read.
        SFTKeyError: A line is no JSON object, or not as it was written.
    """
    lines = (regular(path).read_bytes() if content is None else content).split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        yield _object(line, f"{path} line {number}", mend)
    if _is_whole(lines[-1][:-1]):  # whole but for its end, which no kill can have changed
        raise SFTKeyError(f"{path} line {len(lines)} is not as it was written, its end differs; {mend}")


def may_be_sealed(value: Mapping[str, Any]) -> bool:
    """Whether an object has a digest, or a field of a name that is nobody's: that of the digest, but for a letter."""
    return DIGEST in value or any(map(_is_almost_digest, value))


def _object(line: bytes, where: str, mend: str) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise SFTKeyError(f"{where}: broken JSON: {error}; {mend}") from None
    found: Any = unsealed(value, where, mend)
    if not isinstance(found, dict):
        raise SFTKeyError(f"{where}: expected a JSON object, found {type(found).__name__}; {mend}")
    return found


def _is_whole(line: bytes) -> bool:
    """Whether these bytes are an object with a digest, and as it was written."""
    try:
        value = parse_json(line)
        return isinstance(value, dict) and value.get(DIGEST) == sealed(value)[DIGEST]
    except ValueError:
        return False


def _text(value: Mapping[str, Any], **form: Any) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False, **form) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return (json.dumps(value, **form) + "\n").encode()


def _digest(fields: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(fields, sort_keys=True).encode())


def _is_almost_digest(name: str) -> bool:
    return len(name) == len(DIGEST) and sum(a != b for a, b in zip(name, DIGEST, strict=True)) == 1
