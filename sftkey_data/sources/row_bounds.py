"""How long a row of text may be, so that a small packed file cannot fill the memory."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, AnyStr

import pyarrow as pa

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_memory

MAX_ROW_BYTES = 128 * 2**20
"""Of one line; characters in a csv or tsv. The longest rows of real data have a hundredth of it."""

MAX_UNPACKED_LIST_BYTES = 512 * 2**20
"""Of a JSON list or an Arrow file in a gzip file, which is read whole, and of a row group of Parquet that unpacks to
over `MAX_PACKING` times its size; what is not packed is as large as it looks."""

MAX_PACKING = 100
"""Times its size on disk, to which a large row group of Parquet may unpack; text packs far less well."""

LONG_LINE_BYTES = 2**20
"""From here on it is watched how much memory a line takes to be read: `[],[],…` is twenty times as much as a value."""

MAX_LINE_CELLS = 10_000_000
"""Of a line of a csv or tsv."""

MAX_TIMES_DISK = 1_000
"""Times its size on disk, to which the rows of a table may unpack in all; gzip packs no better either."""

LEAST_ROW_BYTES = 8
"""That a row counts for, also one that holds nothing: a place in a column."""


@dataclass(slots=True)
class Unpacking:
    """What the rows of a table of columns have unpacked to so far: one text may stand in millions of rows at no cost.

    Args:
        name: Of the file.
        disk_bytes: Its size as it lies there.
        num_bytes: Of the rows that were read.
    """

    name: str
    disk_bytes: int
    num_bytes: int = 0

    def add(self, num_rows: int, num_bytes: int) -> None:
        """Count some rows, before they are read.

        Raises:
            SFTKeyError: All together are more than such a file can mean.
        """
        self.num_bytes += max(num_bytes, LEAST_ROW_BYTES * num_rows)
        if self.num_bytes > MAX_UNPACKED_LIST_BYTES and self.num_bytes > MAX_TIMES_DISK * self.disk_bytes:
            raise SFTKeyError(
                f"{self.name}: {self.disk_bytes} bytes unpack to {self.num_bytes} and more, expected at most "
                f"{MAX_TIMES_DISK} times as many"
            )

    def count(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch, after counting it as `add` does."""
        self.add(batch.num_rows, batch.nbytes)
        return batch


def bounded_lines(file: IO[AnyStr], name: str, first: int = 1) -> Iterator[AnyStr]:
    """The lines of a file, none of them read further than a row may be long.

    Raises:
        SFTKeyError: A line is longer, with its number.
    """
    number = first
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES:  # asked here first, as the place need not be written for every line
            refuse_long(len(line), f"{name} line {number}")
        yield line
        number += 1


def parsing(length: int, where: str) -> AbstractContextManager[None]:
    """Bounds the memory that a text of so many bytes may take to be parsed, where it is long.

    Raises:
        SFTKeyError: On leaving it, where it took more.
    """
    return bounded_memory(where, length // 2) if length > LONG_LINE_BYTES else nullcontext()


def refuse_cells(lines: Iterable[str], delimiter: str, name: str) -> Iterator[str]:
    """The same lines, none of them with more cells than a table can have.

    Raises:
        SFTKeyError: One has more.
    """
    for line in lines:
        if len(line) > LONG_LINE_BYTES and (found := line.count(delimiter)) > MAX_LINE_CELLS:
            raise SFTKeyError(f"{name}: a line of {found + 1} cells, expected at most {MAX_LINE_CELLS}")
        yield line


def refuse_long(length: int, where: str) -> None:
    """Refuse a row that is longer than any may be.

    Raises:
        SFTKeyError: It is.
    """
    if length > MAX_ROW_BYTES:
        raise SFTKeyError(f"{where}: longer than {MAX_ROW_BYTES // 2**20} MiB, expected one row")


def read_bounded(file: IO[bytes], name: str) -> bytes:
    """All bytes of a file that is read whole.

    Raises:
        SFTKeyError: A packed one unpacks to more than can be meant.
    """
    if not isinstance(file, gzip.GzipFile):
        return file.read()
    content: bytes = file.read(MAX_UNPACKED_LIST_BYTES + 1)
    if len(content) > MAX_UNPACKED_LIST_BYTES:
        limit = f"{MAX_UNPACKED_LIST_BYTES // 2**20} MiB"
        raise SFTKeyError(f"{name}: unpacks to more than {limit}, too much to read whole: unpack it first")
    return content


def refuse_row_group(packed: int, unpacked: int, where: str) -> None:
    """Refuse a row group of Parquet that is too large in memory for its file, by what the footer says in bytes.

    Raises:
        SFTKeyError: It is.
    """
    if unpacked > MAX_UNPACKED_LIST_BYTES and unpacked > MAX_PACKING * packed:
        limit = f"{MAX_UNPACKED_LIST_BYTES // 2**20} MiB"
        raise SFTKeyError(f"{where}: {packed} bytes unpack to {unpacked}, expected at most {limit} at that ratio")
