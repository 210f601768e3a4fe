"""Where the rows of an input lie that is not read from any byte on, so that a worker reads its pieces by itself.

Where a piece ends follows from how much text each row holds. That is measured before the work, by all workers: of
Parquet, row group by row group, from the columns alone; of any other file from its rows, as one stream. What was
measured is joined in order, so the pieces are those that a single reader of the rows would cut.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from sftkey_data.arrays import Int64s
from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import source as sources
from sftkey_data.sources.parquet import measure_parquet, row_groups
from sftkey_data.sources.readers import text_size
from sftkey_data.sources.row_bounds import Unpacking
from sftkey_data.sources.source import Record, Source

BLOCK_BYTES = 128 * 2**20
"""Of the row groups of Parquet that one worker measures, unpacked."""

GROUP_SHARES = 8
"""Parts of a row group at most that are read apart: each of them unpacks what lies before it in the group again, which
takes a fiftieth of the time that preparing these rows does."""

MIN_STREAMS = 4
"""Files of another kind that are read at a time; with fewer, whoever reads them once and hands out rows is quicker."""


class RowBlock(NamedTuple):
    """Row groups [start, stop) of a Parquet file; of any other file all of it."""

    file: Source
    start: int = 0
    stop: int = 1


class BlockSizes(NamedTuple):
    """What `text_size` says of each row of a block, and how many bytes row groups unpack to."""

    sizes: Int64s
    num_bytes: int | None = None


MeasureRun = Callable[[Callable[[RowBlock], BlockSizes], Iterable[RowBlock]], Iterator[BlockSizes]]
"""What a task gives for each block, in order; as `map`."""


class FileRows(NamedTuple):
    """Rows [start, start + num) of a file, counted from 0."""

    file: Source
    start: int
    num: int


@dataclass(frozen=True, slots=True)
class FileIndex:
    """Of one file.

    Args:
        file: As it was found.
        num_rows: That it holds.
        begins: Rows from which it can be read without those before them: the first of each row group.
        shares: Parts of what lies between two of them that may be read apart.
    """

    file: Source
    num_rows: int
    begins: tuple[int, ...] = (0,)
    shares: int = 1

    def share_of(self, row: int) -> tuple[int, int]:
        """Which part of which run between two of `begins` a row lies in."""
        at = bisect_right(self.begins, row) - 1
        end = self.begins[at + 1] if at + 1 < len(self.begins) else self.num_rows
        return at, (row - self.begins[at]) * self.shares // (end - self.begins[at])


class CutRows(NamedTuple):
    """What a piece holds: rows of one file, or of several that follow each other in a set.

    Pieces in a row with the same `together` are quickest read by one worker, one after the other.
    """

    parts: tuple[FileRows, ...]
    together: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class RowIndex:
    """Of one input.

    Args:
        files: It, or those of the set that it is.
        runs: Rows of each of the pieces that it is cut into, in order.
    """

    files: tuple[FileIndex, ...]
    runs: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        """Of all files."""
        return sum(file.num_rows for file in self.files)

    def cut(self) -> Iterator["CutRows"]:
        """What each piece holds."""
        number = at = 0  # of the file, and of the row in it
        for num in self.runs:
            parts, together, left = list[FileRows](), None, num
            while left:
                file = self.files[number]
                if at == file.num_rows:
                    number, at = number + 1, 0
                    continue
                taken = min(left, file.num_rows - at)
                together = together or (file.file.name, *file.share_of(at))
                parts.append(FileRows(file.file, at, taken))
                left, at = left - taken, at + taken
            yield CutRows(tuple(parts), together)


class RowReader:
    """Reads parts of files; where one lies behind the last one in the same file, it goes on from there."""

    def __init__(self) -> None:
        self._file: Source | None = None
        self._at = 0
        self._records: Iterator[Record] = iter(())

    def rows(self, part: FileRows) -> Iterator[Record]:
        """The rows of a part, in order."""
        if part.file != self._file or part.start < self._at:
            self._file, self._at = part.file, part.start
            self._records = sources.read_source(part.file, part.start)
        for record in self._records:
            self._at += 1
            if self._at > part.start:
                yield record
            if self._at == part.start + part.num:
                return


def worth_indexing(inputs: Sequence[Source], workers: float) -> list[tuple[Source, list[Source]]]:
    """Those of which pieces are prepared sooner where workers read the files; each with its files.

    Measuring a stream is to read it once more, and one worker reads all of it: that pays where there are many, none of
    them much larger than the others. Else one reader hands out the rows.
    """
    found = [(source, [source] if source.kind == "file" else sources.set_files(source)) for source in inputs]
    known = [(source, files) for source, files in found if files and not any(map(sources.is_read_by_threads, files))]
    streams = [file for _, files in known for file in files if not sources.has_row_groups(file)]
    sizes = [sources.source_bytes(file) or math.inf for file in streams]
    at_a_time = min(workers, round(sum(sizes) / max(sizes))) if sizes and 0 < max(sizes) < math.inf else 0
    if at_a_time >= MIN_STREAMS:
        return known
    return [(source, files) for source, files in known if all(map(sources.has_row_groups, files))]


def index_rows(
    inputs: Sequence[tuple[Source, Sequence[Source]]], run: MeasureRun, max_rows: int, max_bytes: int
) -> dict[Source, RowIndex]:
    """Where the rows of inputs lie.

    Args:
        inputs: Each with the files that it consists of.
        run: Who measures the blocks.
        max_rows: Rows of a piece at most.
        max_bytes: A piece ends with the row that reaches so many, as `text_size` counts them.

    Raises:
        SFTKeyError: A file is broken as a whole; or it is no table that its size explains.
    """
    files = [[_FileGroups(file, _row_groups(file)) for file in of_input] for _, of_input in inputs]
    blocks = (block for of_input in files for file in of_input for block in file.blocks())
    found = iter(run(measure_block, blocks))
    return {
        source: _index(of_input, found, max_rows, max_bytes)
        for (source, _), of_input in zip(inputs, files, strict=True)
    }


@dataclass(frozen=True, slots=True)
class _FileGroups:
    """A file, and rows and bytes of each of its row groups; None where it has none."""

    file: Source
    groups: list[tuple[int, int]] | None

    def blocks(self) -> Iterator[RowBlock]:
        """All of it, as it is measured."""
        if self.groups is None:
            yield RowBlock(self.file)
            return
        start = unpacked = 0
        for number, (_, num_bytes) in enumerate(self.groups, start=1):
            unpacked += num_bytes
            if unpacked >= BLOCK_BYTES or number == len(self.groups):
                yield RowBlock(self.file, start, number)
                start, unpacked = number, 0

    def num_rows(self, block: RowBlock) -> int | None:
        """How many rows a block holds, where that is known before it is measured."""
        return None if self.groups is None else sum(rows for rows, _ in self.groups[block.start : block.stop])

    def index(self, num_rows: int) -> FileIndex:
        """Of so many rows."""
        if not self.groups:
            return FileIndex(self.file, num_rows)
        begins = accumulate((rows for rows, _ in self.groups[:-1]), initial=0)
        return FileIndex(self.file, num_rows, tuple(begins), GROUP_SHARES)


def _row_groups(file: Source) -> list[tuple[int, int]] | None:
    if not sources.has_row_groups(file):
        return None
    with sources.open_raw(file) as opened:
        return row_groups(opened, file.name)


def _index(files: Sequence[_FileGroups], found: Iterator[BlockSizes], max_rows: int, max_bytes: int) -> RowIndex:
    done = list[FileIndex]()

    def sizes() -> Iterator[Int64s]:
        for file in files:
            num_rows, name = 0, file.file.name
            unpacking = Unpacking(name, sources.source_bytes(file.file) or 0)
            for block in file.blocks():
                one = next(found)
                expected = file.num_rows(block)
                if expected not in (None, len(one.sizes)):
                    raise SFTKeyError(f"{name}: {expected} rows expected by its footer, {len(one.sizes)} found")
                if one.num_bytes is not None:
                    unpacking.add(len(one.sizes), one.num_bytes)
                num_rows += len(one.sizes)
                yield one.sizes
            done.append(file.index(num_rows))

    runs = tuple(run_lengths(sizes(), max_rows, max_bytes))
    return RowIndex(tuple(done), runs)


def measure_block(block: RowBlock) -> BlockSizes:
    """Measure the rows of a block."""
    if sources.has_row_groups(block.file):
        with sources.open_raw(block.file) as file:
            return BlockSizes(*measure_parquet(file, block.file.name, block.start, block.stop))
    return BlockSizes(np.fromiter((text_size(record.row) for record in sources.read_source(block.file)), np.int64))


def run_lengths(sizes: Iterable[Int64s], max_rows: int, max_bytes: int) -> Iterator[int]:
    """How many rows each piece has, by the sizes of the rows in order, as `pieces` cuts rows that it reads."""
    rows = num_bytes = 0  # of the piece that has not ended
    for block in sizes:
        ends, begin = np.cumsum(block), 0
        while begin < len(block):
            before = int(ends[begin - 1]) if begin else 0
            full = max_rows - rows - 1  # the row with which the piece is full of rows, counted from `begin`
            large = int(ends[begin:].searchsorted(before + max_bytes - num_bytes))  # … or of text
            last = begin + min(full, large)
            if last >= len(block):
                rows, num_bytes = rows + len(block) - begin, num_bytes + int(ends[-1]) - before
                break
            yield rows + last + 1 - begin
            rows, num_bytes, begin = 0, 0, last + 1
    if rows:
        yield rows
