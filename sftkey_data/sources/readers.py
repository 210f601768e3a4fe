"""The rows in a file's bytes, format by format.

A row that cannot be read where its neighbours can (a line of broken JSON, a byte that is no UTF-8) comes as a
`BrokenRow`, to be rejected and counted; what leaves no row to trust behind it is an error with its place.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import IO, Any, Literal, NamedTuple

import msgspec

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Reject
from sftkey_data.sources.row_bounds import (
    LONG_LINE_BYTES,
    MAX_ROW_BYTES,
    bounded_lines,
    parsing,
    read_bounded,
    refuse_cells,
)

MAX_ROW_DEPTH = 100  # of a row that travels to its worker: pickling one takes more stack than reading it
MAX_INTEGER_DIGITS = 4_300  # beyond, Python refuses to read or write it (sys.int_info.default_max_str_digits)
BAD_BYTE = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is no UTF-8
SURE_CHARACTERS = 15  # every number of so many digits survives a float
QUOTED = re.compile(r'"[^"]*"')
BLANK = b" \t\r\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# UTF-32 before UTF-16: FF FE 00 00 begins with FF FE
MAGIC: Mapping[bytes, str] = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "gzip (the name of such a file must end in .gz)",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PAR1\x15": "Parquet",
}
NO_MARK = re.compile(rb"[^\0]\0[^\0]\0|\0[^\0]\0[^\0]|[^\0]\0\0\0")  # ASCII in UTF-16 or UTF-32


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """Stands for a row that could not be read; its string is the raw text, bytes that are no UTF-8 escaped."""

    reason: str
    detail: str
    raw: str

    def __str__(self) -> str:
        return self.raw


class Record(NamedTuple):
    """One raw row with its place; `row` is not a mapping where the record is not an object."""

    source: str
    position: int  # line of a text file, else 1-based row
    row: Any

    @property
    def where(self) -> str:
        """The place as a user would look it up."""
        return f"{self.source}:{self.position}"


def text_size(row: object) -> int:
    """Characters in the text columns of a row; of one that is no mapping, in its text: what a piece's size counts."""
    values = row.values() if isinstance(row, dict) else (str(row),)
    return sum(len(value) for value in values if isinstance(value, str))


def unusable(row: object) -> Reject:
    """Why a row that is not an object cannot be used."""
    if isinstance(row, BrokenRow):
        return Reject(row.reason, row.detail)
    shown = f"{len(row)} fields" if isinstance(row, list) else type(row).__name__
    return Reject("not_an_object", f"expected one value per column, found {shown}")


def refuse_other_content(start: bytes, name: str) -> None:
    """Refuse a text file whose first bytes say that it is another kind of file or in another encoding."""
    found = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)
    if found is None and NO_MARK.match(start):
        found = "UTF-16 or UTF-32"
    if found is not None:
        raise SFTKeyError(f"{name}: expected text in UTF-8, found {found}")


def read_jsonl(file: IO[bytes], name: str, first: int = 1) -> Iterator[Record]:
    """A row per line; blank lines are none."""
    decode = msgspec.json.Decoder(float_hook=exact_float).decode
    for number, line in enumerate(bounded_lines(file, name, first), start=first):
        if line.strip():
            if len(line) > LONG_LINE_BYTES:
                with parsing(len(line), f"{name} line {number}"):
                    row = _decoded(line, decode)
            else:
                row = _decoded(line, decode)
            yield Record(name, number, row)


def _decoded(line: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # NaN, a lone surrogate, a BOM, or broken
        return _parse_line(line)


def _parse_line(line: bytes) -> Any:
    try:
        return _parse_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        reason, detail = "invalid_utf8", f"{error.reason} at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        reason, detail = "broken_json", _fault(error, error.pos + 1)
    except RecursionError:
        reason, detail = "broken_json", "nested too deeply"
    return BrokenRow(reason, detail, line.rstrip(b"\r\n").decode("utf-8", "backslashreplace"))


def _parse_json(text: str) -> Any:
    return json.loads(text, parse_int=_integer, parse_float=exact_float)


def exact_float(written: str) -> float | Decimal:
    """A JSON number with a point or an exponent: a float, or a decimal where a float would be another number.

    `1.00000000000000000001` is not 1, `1E400` is no infinity, and no float is 1e23.
    """
    number = float(written)
    if len(written) <= SURE_CHARACTERS and "e" not in written and "E" not in written:
        return number
    try:
        exact = Decimal(written)
    except InvalidOperation:  # an exponent of 19 digits
        return math.nan
    if not math.isfinite(number) or Decimal(repr(number)) != exact:
        return exact
    return number if not number.is_integer() or int(number) == exact else exact


def _integer(digits: str) -> int | float:
    """Of too many digits: infinity, as JSON's 1e999 is; no column of text, and no reason to lose the others."""
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


def _fault(error: json.JSONDecodeError, position: int) -> str:
    return f"{error.msg.removesuffix(' at')} at character {position}"  # "Invalid control character at"


def read_json(file: IO[bytes], name: str) -> Iterator[Record]:
    """A `.json` file is one list of rows, or JSON lines under the wrong name (as AQuA ships it)."""
    content = read_bounded(file, name)
    if content.removeprefix(BYTE_ORDER_MARK).lstrip(BLANK).startswith(b"["):
        yield from _read_list(content, name)
        return
    _refuse_one_object(content, name)
    yield from shallow(read_jsonl(io.BytesIO(content), name))


def _read_list(content: bytes, name: str) -> Iterator[Record]:
    try:
        text, damage = content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:  # a byte that is none becomes a lone surrogate, which only its row holds
        text, damage = content.decode("utf-8-sig", "surrogateescape"), error
    try:
        with parsing(len(content), name):
            rows = _parse_json(text)
    except json.JSONDecodeError as error:
        raise SFTKeyError(f"{name} line {error.lineno}: broken JSON: {_fault(error, error.colno)}") from None
    except RecursionError:
        raise SFTKeyError(f"{name}: broken JSON: nested too deeply") from None
    for number, row in enumerate(rows, start=1):
        yield Record(name, number, _if_deep(row) if damage is None else _if_damaged(row, damage.reason))


def _if_damaged(row: Any, reason: str) -> Any:
    if (deep := _if_deep(row)) is not row:
        return deep
    text = json.dumps(row, ensure_ascii=False, default=str)
    return BrokenRow("invalid_utf8", reason, _escaped(text)) if BAD_BYTE.search(text) else row


def _refuse_one_object(content: bytes, name: str) -> None:
    """Refuse a file that is one object over several lines: neither a list of rows nor a row per line."""
    first = next(filter(None, (line.strip() for line in io.BytesIO(content))), b"")
    if not isinstance(_parse_line(first), BrokenRow):
        return
    try:
        with parsing(len(content), name):
            found = json.loads(content.decode("utf-8-sig"), parse_int=_integer)
    except (ValueError, RecursionError):
        return
    kind = f"one object with the keys {', '.join(map(repr, list(found)[:9]))}" if isinstance(found, dict) else "a value"
    raise SFTKeyError(f"{name}: expected a list of rows or a row per line, found {kind}")


def shallow(records: Iterator[Record]) -> Iterator[Record]:
    """The records, those nested too deeply to travel to a worker as `BrokenRow`."""
    return (Record(record.source, record.position, _if_deep(record.row)) for record in records)


def _if_deep(row: Any) -> Any:
    """The row; a `BrokenRow` for one whose lists and objects are nested deeper than `MAX_ROW_DEPTH`."""
    level = [row]
    for _ in range(MAX_ROW_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return row
    return BrokenRow("broken_json", f"nested deeper than {MAX_ROW_DEPTH}", f"{type(row).__name__}, nested too deeply")


def read_csv(file: IO[bytes], name: str, suffix: str, fields: Sequence[str] | None = None) -> Iterator[Record]:
    """Rows of a csv or tsv; a record with another number of fields stays a list, to be rejected.

    A tsv without a header (`fields` names its columns) has no quoting: a quote in it is a character of the text.
    """
    csv.field_size_limit(MAX_ROW_BYTES)  # it refuses fields over 128 KiB unless told
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    num_blank, top = _skip_blank(lines, name)
    delimiter = "\t" if suffix == ".tsv" else _delimiter(top)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if fields and delimiter == "\t" else csv.QUOTE_MINIMAL
    bounded = refuse_cells(chain([top], bounded_lines(lines, name, num_blank + 2)), delimiter, name)
    reader = csv.reader(bounded, delimiter=delimiter, strict=True, quoting=quoting)
    start = 1
    try:
        header = list(fields) if fields else next(reader, [])
        _check_header(header, name)
        start = reader.line_num + 1
        for values in reader:
            if values:
                yield Record(name, num_blank + start, _csv_row(header, values))
            start = reader.line_num + 1
    except csv.Error as error:
        place = f"{name} line {num_blank + reader.line_num}"
        begun = f", in the record that begins in line {num_blank + start}" if start < reader.line_num else ""
        raise SFTKeyError(f"{place}: broken {suffix[1:]}: {error}{begun}") from None


def _skip_blank(lines: io.TextIOWrapper, name: str) -> tuple[int, str]:
    """How many blank lines a file begins with, and the line after them; an empty line where there is none."""
    num_blank, line = 0, ""
    for line in bounded_lines(lines, name):
        if line not in ("\n", "\r\n", "\r"):
            return num_blank, line
        num_blank += 1
    return num_blank, ""


def _csv_row(header: Sequence[str], values: list[str]) -> Any:
    text = "".join(values)
    if not text.isascii() and not _is_encodable(text):
        return BrokenRow("invalid_utf8", "the row holds bytes that are not UTF-8", _escaped("\t".join(values)))
    return dict(zip(header, values, strict=True)) if len(values) == len(header) else values


def _check_header(header: Sequence[str], name: str) -> None:
    if not _is_encodable("".join(header)):
        raise SFTKeyError(f"{name} line 1: invalid UTF-8 in the header {_escaped(', '.join(header))[:99]!r}")
    if len(set(header)) < len(header):
        raise SFTKeyError(f"{name} line 1: a column name stands twice in the header {header}")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(text: str) -> str:
    return BAD_BYTE.sub(lambda found: f"\\x{ord(found.group()) - 0xDC00:02x}", text)


def _delimiter(header: str) -> str:
    """The separator that the header line holds most of outside of quotes; a comma where it holds none."""
    return max(",;|\t", key=QUOTED.sub("", header).count)
