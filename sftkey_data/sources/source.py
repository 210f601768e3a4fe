"""Reading rows: local files and URLs in six formats (each also gzipped), folders in the hub's layout, and hub ids."""

import difflib
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, cast

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.fields import field_names, has_field
from sftkey_data.extract.parts import Row
from sftkey_data.sources import hub
from sftkey_data.sources.arrow_rows import read_arrow, seekable
from sftkey_data.sources.parquet import read_parquet
from sftkey_data.sources.readers import (
    BrokenRow,
    read_csv,
    read_json,
    read_jsonl,
    refuse_other_content,
    shallow,
    unusable,
)
from sftkey_data.sources.readers import Record as Record  # the word that the other modules know it by
from sftkey_data.storage.file_bytes import file_size, open_range, open_read

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
SPLIT_NAMES = ("train", "test", "validation", "dev")
SHARD_OF = re.compile(r"-\d+-of-\d+$")  # as the hub's files are numbered
CLOSE_SPLIT = 0.74  # `tset` and `test` are as close as 0.75
FIRST_ROWS = 100  # one of which must have every column
MAX_NAMED = 20  # columns in a message


@dataclass(frozen=True, slots=True)
class Source:
    """A named input that was found to exist.

    Args:
        name: As the user wrote it.
        kind: `file` (local or URL) or `dataset` (a folder in the hub's layout, or a hub id).
        split: The split read from a dataset, or the label of a file's rows; a name, never a slice.
        fields: Column names of a csv or tsv without a header, else None.
        stamp: Size and time of change of a local file when it was found, see `refuse_changed`.
    """

    name: str
    kind: str
    split: str
    fields: tuple[str, ...] | None = None
    stamp: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """What `Record.source` says of its rows."""
        return self.name if self.kind == "file" else f"{self.name}[{self.split}]"


def find_source(name: str, split: str | None) -> Source:
    """Decide what an input name stands for, without reading it.

    Raises:
        SFTKeyError: A file that is missing (the nearest is shown), no file at all, or of an unknown format.
    """
    if not name.strip():
        raise SFTKeyError("an input's name is empty: expected a file, URL, folder or hub id")
    if "://" not in name:
        if _status(name.partition(":")[0], stat.S_ISDIR) is not None:
            return Source(name, "dataset", split or hub.saved_split(name) or "train")
        if (status := _status(name)) is None:
            return _hub_id(name, split)
        if not stat.S_ISREG(status.st_mode):
            raise SFTKeyError(f"input {name}: expected a file, found a {_kind(status.st_mode)}")
    if _format(name) not in FORMATS:
        found = Path(name).suffix
        raise SFTKeyError(f"input {name}: unknown format {found!r}, expected {', '.join(FORMATS)}, each also .gz")
    return Source(name, "file", split or named_split(name) or "train", stamp=_stamp(name))


def refuse_changed(source: Source) -> None:
    """Refuse a local file that was written to, or replaced, since it was found: its rows are of two versions.

    Raises:
        SFTKeyError: It changed, or is gone.
    """
    if source.stamp is not None and source.stamp != (found := _stamp(source.name)):
        now = "it is gone" if found is None else f"{source.stamp[0]} bytes when it was found, {found[0]} now"
        raise SFTKeyError(f"{source.name}: changed while it was read ({now}): build again when it is complete")


def _stamp(name: str) -> tuple[int, int] | None:
    status = None if "://" in name else _status(name)
    return None if status is None else (status.st_size, status.st_mtime_ns)


def _status(name: str, wanted: Callable[[int], bool] | None = None) -> os.stat_result | None:
    """The status of a path; None where nothing (of the wanted kind) is there."""
    try:
        name.encode()
        status = Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeEncodeError:
        raise SFTKeyError(f"input {name!r}: the name is not UTF-8, which a manifest cannot hold") from None
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise SFTKeyError(f"input {name!r} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    return status if wanted is None or wanted(status.st_mode) else None


def _kind(mode: int) -> str:
    return "pipe" if stat.S_ISFIFO(mode) else "folder" if stat.S_ISDIR(mode) else "device or socket"


def _hub_id(name: str, split: str | None) -> Source:
    if not looks_like_hub_id(name):
        path = Path(name)
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SFTKeyError(f"input file not found: {name}{nearest(path.name, siblings)}")
    return Source(name, "dataset", split or "train")


def read_source(source: Source, start: int = 0) -> Iterator[Record]:
    """The records of a source in order; one that cannot be read holds a `BrokenRow` in its row's place.

    Args:
        source: Of any kind.
        start: How many of them are left out at the begin, of a file.

    Raises:
        SFTKeyError: Content that is broken as a whole, with the file and the line.
    """
    if source.kind == "dataset":
        files = set_files(source)
        yield from _rows_of_files(files, source.label) if files else _hub_rows(source)
        return
    with _open(source.name) as file:
        try:
            yield from _read_file(file, source, start)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SFTKeyError(f"{source.name}: damaged gzip file: {error}") from None
    refuse_changed(source)


def set_files(source: Source) -> list[Source] | None:
    """The files of a folder of plain tables; None for any other set."""
    names = hub.table_files(source.name, source.split)
    known = names is not None and all(_format(name) in FORMATS for name in names)
    return [Source(name, "file", source.split, stamp=_stamp(name)) for name in names or ()] if known else None


def _rows_of_files(files: Sequence[Source], label: str) -> Iterator[Record]:
    rows = chain.from_iterable(map(read_source, files))
    return (Record(label, number, record.row) for number, record in enumerate(rows, start=1))


def _hub_rows(source: Source) -> Iterator[Record]:
    return hub.read_hub_rows(hub.load(source.name, source.split), source.label)


def _read_file(file: IO[bytes], source: Source, start: int) -> Iterator[Record]:
    if _format(source.name) == ".parquet":
        return read_parquet(seekable(file, source.name), source.name, start)
    return islice(_read_stream(file, source), start, None)


def _read_stream(file: IO[bytes], source: Source) -> Iterator[Record]:
    name, suffix = source.name, _format(source.name)
    if suffix == ".arrow":
        return read_arrow(seekable(file, name), name)
    refuse_other_content(cast(io.BufferedReader, file).peek(8)[:8], name)
    if suffix == ".json":
        return read_json(file, name)
    if suffix in (".csv", ".tsv"):
        return read_csv(file, name, suffix, source.fields)
    return read_jsonl(file, name) if is_plain_lines(source) else shallow(read_jsonl(file, name))


def read_whole(source: Source) -> Iterator[Record]:
    """The records of a source of which none may be lost.

    Raises:
        SFTKeyError: As for `read_source`, and at the first record that cannot be read.
    """
    for record in read_source(source):
        if isinstance(record.row, BrokenRow):
            raise SFTKeyError(f"{record.where}: {unusable(record.row)}")
        yield record


def is_plain_lines(source: Source) -> bool:
    """Whether a row is a line of a file that can be read from any byte on."""
    return source.kind == "file" and _format(source.name) == ".jsonl" and not source.name.endswith(".gz")


def open_raw(source: Source) -> IO[bytes]:
    """The bytes of a file as they are."""
    return open_read(source.name)


def read_source_lines(source: Source, start: int, stop: int, line: int) -> Iterator[Record]:
    """The records in the bytes [start, stop) of a file of lines; `line` is the number of the first."""
    return read_jsonl(open_range(source.name, start, stop), source.name, line)


def has_row_groups(source: Source) -> bool:
    """Whether rows of a file can be read without those of the groups before them."""
    return source.kind == "file" and _format(source.name) == ".parquet" and not source.name.endswith(".gz")


def is_read_by_threads(source: Source) -> bool:
    """Whether Arrow reads a file by threads of its own, for which a process that was forked after them may wait."""
    return source.kind == "file" and _format(source.name) == ".arrow"


def has_counted_lines(source: Source) -> bool:
    """Whether the lines of a file say how many rows it has, at least nearly."""
    return source.kind == "file" and _format(source.name) in (".jsonl", ".tsv") and not source.name.endswith(".gz")


def set_fingerprint(source: Source) -> tuple[str, int]:
    """The fingerprint that `datasets` gives a set, and how many rows it has."""
    dataset = hub.load(source.name, source.split)
    return str(dataset._fingerprint), len(dataset)


def count_records(source: Source) -> int:
    """How many rows a source has, by reading it; of a set of the hub, by asking it."""
    if source.kind == "dataset" and not set_files(source):
        return len(hub.load(source.name, source.split))
    return sum(1 for _ in read_source(source))


def source_bytes(source: Source) -> int | None:
    """Size of a file; None where it is not known."""
    return file_size(source.name) if source.kind == "file" else None


def check_first_rows(source: Source, required: Sequence[str]) -> None:
    """Refuse a source without rows, or whose first rows all lack a column.

    Raises:
        SFTKeyError: With the nearest name of a column that is there.
    """
    first: Row | None = None
    unused, num_seen, num_read = None, 0, 0
    for record in read_source(source):
        num_read += 1
        if not isinstance(record.row, dict):
            unused = unused or f"{record.where}: {unusable(record.row)}"
        elif all(has_field(record.row, column) for column in required):
            return
        else:
            first, num_seen = first or record.row, num_seen + 1
        if num_seen == FIRST_ROWS:
            break
    if first is not None:
        _refuse_columns(source, required, first)
    found = f"no usable row among {num_read}; the first: {unused}" if unused else "holds no rows"
    raise SFTKeyError(f"{source.name}: {found}")


def _refuse_columns(source: Source, required: Sequence[str], found: Row) -> None:
    column = next(column for column in required if not has_field(found, column))
    hint = nearest(column, field_names(found))
    named = ", ".join(map(repr, list(found)[:MAX_NAMED])) + ", …" * (len(found) > MAX_NAMED)
    raise SFTKeyError(f"{source.name}: column {column!r} is missing{hint}; found: {named or 'none'}")


def _open(name: str) -> IO[bytes]:
    try:
        raw = open_read(name)
    except (OSError, ValueError, ImportError) as error:
        raise SFTKeyError(f"input {name} cannot be opened: {error}") from None
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    return raw


def _format(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()


def named_split(name: str) -> str | None:
    """The split that a file's name says: `test.jsonl`, `test.csv.gz` and `test-00000-of-00002.parquet` say test."""
    stem = SHARD_OF.sub("", Path(name).name.split(".")[0].lower())
    return stem if stem in SPLIT_NAMES else None


def refuse_misspelt(split: str) -> None:
    """Refuse a label for a file's rows that reads like a known split, as `tset` does; a name of one's own is taken.

    Raises:
        SFTKeyError: With the split that was probably meant.
    """
    if split not in SPLIT_NAMES and not any(known in split for known in SPLIT_NAMES):
        close = difflib.get_close_matches(split.lower(), SPLIT_NAMES, n=1, cutoff=CLOSE_SPLIT)
        if close:
            raise SFTKeyError(f"--split {split!r}: no such split (did you mean {close[0]!r}?)")


def looks_like_hub_id(name: str) -> bool:
    """Whether a name that is no path here is one of the hub: `name` or `owner/name`, with `:subset`."""
    repository = name.split(":")[0]
    plain = not name.startswith((".", "/", "~")) and _format(name) not in FORMATS and not name.endswith(".gz")
    return plain and repository.count("/") <= 1 and not (repository.count("/") == 1 and Path(name).parent.is_dir())


def generated_records(name: str, split: str, rows: Iterable[Row]) -> Iterator[Record]:
    """The rows of a generated set as records."""
    for number, row in enumerate(rows, start=1):
        yield Record(f"{name}[{split}]", number, row)
