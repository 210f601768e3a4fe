"""Cutting the input into pieces: runs of rows that become one shard each, whoever works on them.

Where a piece ends depends on the input and the configured sizes alone, so the shards are the same for any number of
workers. Of a plain `.jsonl` a piece is a range of bytes, which its worker reads by itself; where it ends is found by
the line index of a survey, so that a leaf with a border in it is all that is read here. Of everything else the rows
travel with the piece.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from types import MappingProxyType
from typing import TypeVar

from sftkey_data.sources import source as sources
from sftkey_data.sources.line_index import LineIndex
from sftkey_data.sources.readers import text_size
from sftkey_data.sources.row_index import FileRows, RowIndex, RowReader
from sftkey_data.sources.source import Record, Source
from sftkey_data.sources.split_slices import Window

_Result = TypeVar("_Result")
Indices = Mapping[Source, LineIndex | RowIndex]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of rows of one source.

    Args:
        number: Of the piece in the build; its shard is `data-NNNNN.arrow`.
        first: Index in the build of its first row.
        num_rows: How many rows it holds.
        source: Where `start`, `stop` and `line` point into, or whose rows `parts` are; None when `records` holds them.
        start: First byte; of `parts`, the number of rows before them.
        stop: Byte after the last one.
        line: Line number of the first byte, 1-based.
        skip: Rows after `start` that come before the first one.
        records: The rows themselves.
        parts: Where in the files of the source they lie.
        together: Pieces in a row that have one value of it are quickest read by one worker, one after the other …
        reader: … which has one of these for all of them.
        dropped: Indices of rows that repeat an earlier question and are not wanted.
        reading: Which of the build's recipes reads it.
    """

    number: int
    first: int
    num_rows: int
    source: Source | None = None
    start: int = 0
    stop: int = 0
    line: int = 1
    skip: int = 0
    records: tuple[Record, ...] = ()
    parts: tuple[FileRows, ...] = ()
    together: tuple[str, int, int] | None = None
    reader: RowReader = field(default_factory=RowReader, repr=False, compare=False)
    dropped: frozenset[int] = frozenset()
    reading: int = 0

    def read(self) -> Iterator[tuple[int, Record]]:
        """The rows with their indices in the build."""
        if self.source is None:
            return enumerate(self.records, start=self.first)
        if self.parts:
            records = self._part_records(self.source)
        else:
            records = sources.read_source_lines(self.source, self.start, self.stop, self.line)
        return enumerate(islice(records, self.skip, self.skip + self.num_rows), start=self.first)

    def _part_records(self, source: Source) -> Iterator[Record]:
        records = chain.from_iterable(map(self.reader.rows, self.parts))
        if source.kind == "file":
            return records
        # of a set of files the rows are counted through
        return (Record(source.label, number, record.row) for number, record in enumerate(records, start=self.start + 1))


def in_groups(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    """The pieces, those that one worker reads together as one."""
    for shared, run in groupby(pieces, key=lambda piece: piece.together):
        if shared is None:
            yield from ((piece,) for piece in run)
        else:
            yield tuple(run)


def each_of(pieces: Sequence[Piece], task: Callable[[Piece], _Result]) -> list[_Result]:
    """What a task makes of each piece, where what they have in common is read once."""
    reader = RowReader()
    return [task(replace(piece, reader=reader)) for piece in pieces]


def cut(
    inputs: Iterable[Source] | Iterable[Record],
    *,
    max_rows: int,
    max_bytes: int,
    limit: int | None,
    indices: Indices = MappingProxyType({}),
    windows: Sequence[Window] = (),
    first: int = 0,
) -> Iterator[Piece]:
    """Cut sources (or the rows of a generated set) into pieces, in order, numbered from 0.

    Args:
        inputs: Sources, or records that no file holds.
        max_rows: Rows of a piece at most.
        max_bytes: A piece of a file ends with the row that reaches so many bytes.
        limit: Rows of all pieces together at most; all when None.
        indices: Where rows lie: of the sources that are files of plain lines, and of others where it is known for
            `max_rows` and `max_bytes`.
        windows: Of sources, the rows that are wanted of each split; all when empty.
        first: Index of the first row.
    """
    number, index = 0, first
    for item in _wanted(inputs, indices, windows, max_rows, max_bytes):
        kept = item.num_rows if limit is None else min(item.num_rows, limit - (index - first))
        if kept:
            yield replace(item, number=number, first=index, num_rows=kept, records=item.records[:kept])
            number, index = number + 1, index + kept
        if limit is not None and index - first >= limit:
            return


def _wanted(
    inputs: Iterable[Source] | Iterable[Record],
    indices: Indices,
    windows: Sequence[Window],
    max_rows: int,
    max_bytes: int,
) -> Iterator[Piece]:
    if not windows:
        yield from _runs(inputs, indices, max_rows, max_bytes)
        return
    chosen = [source for source in inputs if isinstance(source, Source)]
    for window in windows:
        runs = _runs([source for source in chosen if source.split == window.base], indices, max_rows, max_bytes)
        yield from _inside(runs, window)


def _inside(runs: Iterator[Piece], window: Window) -> Iterator[Piece]:
    """The runs, numbered from the first row of the split, as far as they lie in the window."""
    begin = 0
    for run in runs:
        end = begin + run.num_rows
        low, high = max(begin, window.start), end if window.stop is None else min(end, window.stop)
        if low < high:
            records = run.records[low - begin : high - begin]
            yield replace(run, skip=low - begin, num_rows=high - low, records=records)
        if window.stop is not None and end >= window.stop:
            return
        begin = end


def _runs(
    inputs: Iterable[Source] | Iterable[Record], indices: Indices, max_rows: int, max_bytes: int
) -> Iterator[Piece]:
    generated: list[Record] = []
    for item in inputs:
        if isinstance(item, Record):
            generated.append(item)
            if len(generated) == max_rows:
                yield _carried(generated)
                generated = []
        elif isinstance(index := indices.get(item), LineIndex):
            sources.refuse_changed(item)  # the index is of what it was
            yield from _line_runs(item, index, max_rows, max_bytes)
            sources.refuse_changed(item)
        elif isinstance(index, RowIndex):
            yield from _indexed_runs(item, index)
        elif sources.is_plain_lines(item):
            raise ValueError(f"{item.name}: lines that nobody has surveyed")
        else:
            yield from _row_runs(sources.read_source(item), max_rows, max_bytes)
    if generated:
        yield _carried(generated)


def _carried(records: list[Record]) -> Piece:
    return Piece(number=0, first=0, num_rows=len(records), records=tuple(records))


def _row_runs(records: Iterator[Record], max_rows: int, max_bytes: int) -> Iterator[Piece]:
    """Runs of parsed rows."""
    run: list[Record] = []
    num_bytes = 0
    for record in records:
        run.append(record)
        num_bytes += text_size(record.row)
        if len(run) == max_rows or num_bytes >= max_bytes:
            yield _carried(run)
            run, num_bytes = [], 0
    if run:
        yield _carried(run)


def _indexed_runs(source: Source, index: RowIndex) -> Iterator[Piece]:
    """Runs of rows that their workers read."""
    start = 0
    for num_rows, (parts, shared) in zip(index.runs, index.cut(), strict=True):
        yield Piece(number=0, first=0, num_rows=num_rows, source=source, start=start, parts=parts, together=shared)
        start += num_rows


def _line_runs(source: Source, index: LineIndex, max_rows: int, max_bytes: int) -> Iterator[Piece]:
    """Runs of lines, found without parsing them; blank lines are no rows."""
    rows = line = 0
    start, first_line = 0, 1
    for leaf, (num_breaks, num_rows) in enumerate(zip(index.breaks.tolist(), index.rows.tolist(), strict=True)):
        if rows + num_rows < max_rows and (leaf + 1) * index.leaf_bytes < start + max_bytes:  # no run ends in it
            rows += num_rows
            line += num_breaks
            continue
        ends, is_row = index.lines(leaf)
        begin = 0
        while begin < len(ends):
            counted = is_row[begin:].cumsum()
            full = int(counted.searchsorted(max_rows - rows))  # the line with which the run is full of rows
            large = int(ends[begin:].searchsorted(start + max_bytes))  # … or of bytes
            last = begin + min(full, large)
            if last >= len(ends):
                rows += int(counted[-1])
                line += len(ends) - begin
                break
            rows += int(counted[last - begin])
            line += last + 1 - begin
            stop = int(ends[last])
            if rows:
                yield Piece(number=0, first=0, num_rows=rows, source=source, start=start, stop=stop, line=first_line)
            start, first_line, rows, begin = stop, line + 1, 0, last + 1
    if rows:
        yield Piece(number=0, first=0, num_rows=rows, source=source, start=start, stop=index.size, line=first_line)
