"""Rows of a file made elsewhere: JSON lines, a JSON list, CSV, TSV or Parquet, each also gzipped but for the last.

Strict where a build is lenient: a row that cannot be read is an error with its place, as a row left out of an
evaluation would change its denominator.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.fields import find_field
from sftkey_data.extract.parts import Reject
from sftkey_data.sources.parquet import read_parquet
from sftkey_data.sources.readers import (
    BLANK,
    BYTE_ORDER_MARK,
    BrokenRow,
    Record,
    read_csv,
    refuse_other_content,
)
from sftkey_data.sources.row_bounds import bounded_lines, parsing, read_bounded
from sftkey_data.storage.sealed_json import CHANGED_LINE, may_be_sealed, unsealed

MISSING: Any = object()
"""What `lookup` gives where a row has no such field."""

_START = 4_096  # bytes that tell what a file holds


def read_row_file(path: Path, what: str, *, numbers_as_text: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and row; blank lines are no rows. Numbers of JSON keep their digits, as text, unless told not to.

    A name with none of the known endings is read as JSON lines.

    Raises:
        SFTKeyError: No such file, a file that is no text where text is expected, or a row that cannot be read.
    """
    if not path.is_file():
        raise SFTKeyError(f"{what} file not found: {path}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    number = str if numbers_as_text else None
    with path.open("rb") as raw, gzip.open(raw) if zipped else nullcontext(raw) as opened:
        file = cast(IO[bytes], opened)
        if kind == [".parquet"]:
            yield from _table(read_parquet(file, str(path)), "row")
            return
        try:
            start = file.read(_START)
            file.seek(0)
            refuse_other_content(start, str(path))
            if kind in ([".csv"], [".tsv"]):
                yield from map(_cells, _table(read_csv(file, str(path), kind[0]), "line"))
            elif kind == [".json"] and start.removeprefix(BYTE_ORDER_MARK).lstrip(BLANK).startswith(b"["):
                yield from _list(read_bounded(file, str(path)), path, number)
            else:
                yield from _lines(file, path, number)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SFTKeyError(f"{path}: not a whole gzip file: {error}") from None


def lookup(row: Mapping[str, Any], name: str) -> Any:
    """The field `name` of a row, see `find_field`; `MISSING` where there is none."""
    if name in row or "." not in name:
        return row.get(name, MISSING)
    try:
        return find_field(row, name)
    except Reject:
        return MISSING


def missing_field(row: Mapping[str, Any], name: str) -> str:
    """What to say of a field that a row does not have."""
    if "." not in name:
        return f"no column {name!r}{nearest(name, row)}; found: {', '.join(row)}"
    try:
        find_field(row, name)
    except Reject as reject:
        return reject.detail
    raise ValueError(f"{name} is there")


def kind_name(value: object) -> str:
    """A value's kind in JSON's words."""
    names = {dict: "an object", list: "a list", bool: "a boolean", str: "a string or number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _lines(file: IO[bytes], path: Path, number: type[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for position, line in enumerate(bounded_lines(file, str(path)), start=1):
        if line.strip():
            where = f"{path} line {position}"
            row = _object(_parse(line.rstrip(b"\r\n"), where, number), where)
            if may_be_sealed(row):  # over the numbers as they were written
                row = {name: row[name] for name in unsealed(json.loads(line), where, CHANGED_LINE)}
            yield where, row


def _list(content: bytes, path: Path, number: type[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for position, row in enumerate(_parse(content, str(path), number), start=1):
        yield (where := f"{path} row {position}"), _object(row, where)


def _parse(content: bytes, where: str, number: type[str] | None) -> Any:
    try:
        # A byte order mark, as editors on Windows write it, is no part of the row.
        with parsing(len(content), where):
            return json.loads(content.decode("utf-8-sig"), parse_int=number, parse_float=number, parse_constant=number)
    except UnicodeDecodeError as error:
        raise SFTKeyError(f"{where}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise SFTKeyError(f"{where}: JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise SFTKeyError(f"{where}: broken JSON at {line}column {error.colno}: {error.msg}") from None


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise SFTKeyError(f"{where}: expected a JSON object, found {kind_name(row)}")
    return row


def _table(records: Iterator[Record], unit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in records:
        where = f"{record.source} {unit} {record.position}"
        if isinstance(record.row, BrokenRow):
            raise SFTKeyError(f"{where}: {record.row.reason}: {record.row.detail}")
        if isinstance(record.row, list):
            raise SFTKeyError(f"{where}: expected one value per column of the header, found {len(record.row)}")
        yield where, record.row


def _cells(placed: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """A line of a table as a row: an empty cell holds nothing."""
    where, row = placed
    return where, {name: value or None for name, value in row.items()}
