"""Reading rows: local files and URLs in five formats (each also gzipped), folders in the hub's layout, and hub ids."""

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract import Row
from sftkey_data.remote import open_read, read_range, size

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
SPLIT_NAMES = ("train", "test", "validation", "dev")
QUOTED = re.compile(r'"[^"]*"')
MAX_FIELD = 2**31 - 1  # csv refuses fields over 128 KiB unless told


@dataclass(frozen=True, slots=True)
class Record:
    """One raw row with its place; `row` is not a mapping where the record is not an object."""

    source: str
    position: int  # line of a text file, else 1-based row
    row: Any

    @property
    def where(self) -> str:
        """The place as a user would look it up."""
        return f"{self.source}:{self.position}"


@dataclass(frozen=True, slots=True)
class Source:
    """A named input that was found to exist.

    Args:
        name: As the user wrote it.
        kind: `file` (local or URL) or `dataset` (a folder in the hub's layout, or a hub id).
        split: The split read from a dataset, or the label of a file's rows.
        fields: Column names of a csv or tsv without a header, else None.
    """

    name: str
    kind: str
    split: str
    fields: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """What `Record.source` says of its rows."""
        return self.name if self.kind == "file" else f"{self.name}[{self.split}]"


def find_source(name: str, split: str | None) -> Source:
    """Decide what an input name stands for, without reading it.

    Raises:
        SFTKeyError: A file that is missing (the nearest is shown) or of an unknown format.
    """
    path, is_url = Path(name), "://" in name
    if not is_url and Path(name.partition(":")[0]).is_dir():
        return Source(name, "dataset", split or "train")
    if not is_url and not path.exists():
        if not _looks_like_hub_id(name):
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise SFTKeyError(f"input file not found: {name}{nearest(path.name, siblings)}")
        return Source(name, "dataset", split or "train")
    if _format(name) not in FORMATS:
        raise SFTKeyError(f"input {name}: unknown format {path.suffix!r}, expected {', '.join(FORMATS)}, each also .gz")
    return Source(name, "file", split or _split_from(path))


def read(source: Source) -> Iterator[Record]:
    """The records of a source in order.

    Raises:
        SFTKeyError: Broken content, with the file and the line.
    """
    if source.kind == "dataset":
        yield from _read_dataset(source)
        return
    read_table = partial(_read_csv, fields=source.fields)
    readers: dict[str, Callable[[IO[bytes], str], Iterator[Record]]] = {
        ".parquet": _read_parquet,
        ".csv": read_table,
        ".tsv": read_table,
        ".json": _read_json,
    }
    reader = readers.get(_format(source.name), _read_jsonl)
    with _open(source.name) as file:
        try:
            yield from reader(file, source.name)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SFTKeyError(f"{source.name}: damaged gzip file: {error}") from None
        except UnicodeDecodeError as error:
            raise SFTKeyError(f"{source.name}: invalid UTF-8 at byte {error.start}: {error.reason}") from None


def is_plain_lines(source: Source) -> bool:
    """Whether a row is a line of a file that can be read from any byte on."""
    return source.kind == "file" and _format(source.name) == ".jsonl" and not source.name.endswith(".gz")


def open_raw(source: Source) -> IO[bytes]:
    """The bytes of a file as they are."""
    return open_read(source.name)


def read_lines(source: Source, start: int, stop: int, line: int) -> Iterator[Record]:
    """The records in the bytes [start, stop) of a file of lines; `line` is the number of the first."""
    return _read_jsonl(io.BytesIO(read_range(source.name, start, stop)), source.name, line)


def sha256(source: Source) -> str:
    """Hash of the input's bytes; of a dataset, the fingerprint that `datasets` gives its content."""
    if source.kind == "dataset":
        return str(_load_dataset(source)._fingerprint)
    digest = hashlib.sha256()
    with _open(source.name, compression=None) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def num_bytes(source: Source) -> int | None:
    """Size of a file; None where it is not known."""
    return size(source.name) if source.kind == "file" else None


def num_rows(source: Source) -> int | None:
    """Rows of a source, where counting them costs little; for the progress bar only."""
    if source.kind == "dataset":
        return len(_load_dataset(source))
    if _format(source.name) not in (".jsonl", ".tsv") or source.name.endswith(".gz"):
        return None
    with _open(source.name) as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))


def check_columns(source: Source, required: Sequence[str], found: Iterable[str]) -> None:
    """Refuse a source whose first row lacks a column."""
    found = list(found)
    for column in required:
        if column not in found:
            hint = nearest(column, found)
            raise SFTKeyError(
                f"{source.name}: column {column!r} is missing{hint}; found: {', '.join(map(repr, found))}"
            )


def _open(name: str, compression: str | None = "infer") -> IO[bytes]:
    try:
        raw = open_read(name)
    except (OSError, ValueError, ImportError) as error:
        raise SFTKeyError(f"input {name} cannot be opened: {error}") from None
    if compression is not None and name.endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    return raw


def _format(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()


def _split_from(path: Path) -> str:
    stem = path.name.split(".")[0].lower()
    return stem if stem in SPLIT_NAMES else "train"


def _looks_like_hub_id(name: str) -> bool:
    repository = name.split(":")[0]
    plain = not name.startswith((".", "/", "~")) and _format(name) not in FORMATS and not name.endswith(".gz")
    return plain and repository.count("/") <= 1 and not (repository.count("/") == 1 and Path(name).parent.is_dir())


def _read_jsonl(file: IO[bytes], name: str, first: int = 1) -> Iterator[Record]:
    decode = msgspec.json.decode
    for number, line in enumerate(file, start=first):
        if line.strip():
            try:
                row = decode(line)
            except (msgspec.MsgspecError, ValueError, RecursionError):  # NaN, a lone surrogate, a BOM, or broken
                row = _parse_json(line, name, number)
            yield Record(name, number, row)


def _parse_json(line: bytes, name: str, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SFTKeyError(f"{name} line {number}: invalid UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise SFTKeyError(f"{name} line {number}: broken JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise SFTKeyError(f"{name} line {number}: broken JSON: nested too deeply") from None


def _read_json(file: IO[bytes], name: str) -> Iterator[Record]:
    """A `.json` file is one list of rows, or JSON lines under the wrong name (as AQuA ships it)."""
    content = file.read()
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from _read_jsonl(io.BytesIO(content), name)
        return
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise SFTKeyError(f"{name} line {error.lineno}: broken JSON: {error.msg}") from None
    except RecursionError:
        raise SFTKeyError(f"{name}: broken JSON: nested too deeply") from None
    for number, row in enumerate(rows, start=1):
        yield Record(name, number, row)


def _read_csv(file: IO[bytes], name: str, fields: Sequence[str] | None = None) -> Iterator[Record]:
    """Rows of a csv or tsv; a record with another number of fields stays a list, to be rejected.

    A tsv without a header (`fields` names its columns) has no quoting: a quote in it is a character of the text.
    """
    csv.field_size_limit(MAX_FIELD)
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    first = lines.readline()
    delimiter = "\t" if _format(name) == ".tsv" else _delimiter(first)
    rows = chain([first], lines)
    if fields and delimiter == "\t":
        reader = csv.reader(rows, delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(rows, delimiter=delimiter, strict=True)
    try:
        header = list(fields) if fields else next(reader, None)
        if not header or not first:
            return
        if len(set(header)) < len(header):
            raise SFTKeyError(f"{name} line 1: a column name stands twice in the header {header}")
        for values in reader:
            if values:
                whole = len(values) == len(header)
                yield Record(name, reader.line_num, dict(zip(header, values, strict=True)) if whole else values)
    except csv.Error as error:
        raise SFTKeyError(f"{name} line {reader.line_num}: broken {_format(name)[1:]}: {error}") from None


def _delimiter(header: str) -> str:
    """The separator that the header line holds most of outside of quotes; a comma where it holds none."""
    return max(",;|\t", key=QUOTED.sub("", header).count)


def _read_parquet(file: IO[bytes], name: str) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.ParquetFile(file if file.seekable() and not name.endswith(".gz") else io.BytesIO(file.read()))
        media = _media_columns(content.schema_arrow)
        columns = [f"{column}.path" if column in media else column for column in content.schema_arrow.names]
        number = 0
        for batch in content.iter_batches(columns=columns if media else None):
            for row in batch.to_pylist():
                number += 1
                yield Record(name, number, row)
    except pa.ArrowInvalid as error:
        raise SFTKeyError(f"{name}: not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _media_columns(schema: Any) -> list[str]:
    """Columns of pictures, sounds and other files, as `datasets` stores them: a struct of bytes and path.

    Of these a row holds the path alone, under `path`. Decoding would need libraries that nothing here uses, and the
    bytes would fill the rejects.
    """
    import pyarrow as pa

    structs = [field for field in schema if pa.types.is_struct(field.type)]
    return [field.name for field in structs if {part.name for part in field.type} == {"bytes", "path"}]


def _read_dataset(source: Source) -> Iterator[Record]:
    rows = _load_dataset(source)
    media = _media_columns(rows.features.arrow_schema)
    for number, row in enumerate(rows, start=1):
        paths = {column: row[column] and {"path": row[column]["path"]} for column in media}
        yield Record(source.label, number, row | paths)


def _load_dataset(source: Source) -> Any:
    import datasets

    datasets.disable_progress_bars()
    repository, _, subset = source.name.partition(":")
    try:
        rows = datasets.load_dataset(repository, subset or None, split=source.split)
        for column in _media_columns(rows.features.arrow_schema):
            if getattr(rows.features[column], "decode", False):
                rows = rows.cast_column(column, replace(rows.features[column], decode=False))
        return rows
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(
            f"dataset {source.name!r} (split {source.split!r}) could not be loaded: {first_line}"
        ) from None


def generated(name: str, split: str, rows: Iterable[Row]) -> Iterator[Record]:
    """The rows of a generated set as records."""
    for number, row in enumerate(rows, start=1):
        yield Record(f"{name}[{split}]", number, row)
