"""Cutting the input into pieces: runs of rows that become one shard each, whoever works on them.

Where a piece ends depends on the input and the configured sizes alone, so the shards are the same for any number of
workers. Of a plain `.jsonl` a piece is a range of bytes, which its worker reads by itself; where it ends is found by
the line index of a survey, so that a leaf with a border in it is all that is read here. Of everything else the rows
travel with the piece.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType

from sftkey_data.sources import source as sources
from sftkey_data.sources.line_index import LineIndex
from sftkey_data.sources.source import Record, Source
from sftkey_data.sources.split_slices import Window

LineIndices = Mapping[Source, LineIndex]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of rows of one source.

    Args:
        number: Of the piece in the build; its shard is `data-NNNNN.arrow`.
        first: Index in the build of its first row.
        num_rows: How many rows it holds.
        source: Where `start`, `stop` and `line` point into; None when `records` holds the rows.
        start: First byte.
        stop: Byte after the last one.
        line: Line number of the first byte, 1-based.
        skip: Rows after `start` that come before the first one.
        records: The rows themselves.
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
    dropped: frozenset[int] = frozenset()
    reading: int = 0

    def read(self) -> Iterator[tuple[int, Record]]:
        """The rows with their indices in the build."""
        if self.source is None:
            return enumerate(self.records, start=self.first)
        records = sources.read_source_lines(self.source, self.start, self.stop, self.line)
        return enumerate(islice(records, self.skip, self.skip + self.num_rows), start=self.first)


def cut(
    inputs: Iterable[Source] | Iterable[Record],
    *,
    max_rows: int,
    max_bytes: int,
    limit: int | None,
    lines: LineIndices = MappingProxyType({}),
    windows: Sequence[Window] = (),
    first: int = 0,
) -> Iterator[Piece]:
    """Cut sources (or the rows of a generated set) into pieces, in order, numbered from 0.

    Args:
        inputs: Sources, or records that no file holds.
        max_rows: Rows of a piece at most.
        max_bytes: A piece of a file ends with the row that reaches so many bytes.
        limit: Rows of all pieces together at most; all when None.
        lines: Of those of the sources that are files of plain lines.
        windows: Of sources, the rows that are wanted of each split; all when empty.
        first: Index of the first row.
    """
    number, index = 0, first
    for item in _wanted(inputs, lines, windows, max_rows, max_bytes):
        kept = item.num_rows if limit is None else min(item.num_rows, limit - (index - first))
        if kept:
            yield replace(item, number=number, first=index, num_rows=kept, records=item.records[:kept])
            number, index = number + 1, index + kept
        if limit is not None and index - first >= limit:
            return


def _wanted(
    inputs: Iterable[Source] | Iterable[Record],
    lines: LineIndices,
    windows: Sequence[Window],
    max_rows: int,
    max_bytes: int,
) -> Iterator[Piece]:
    if not windows:
        yield from _runs(inputs, lines, max_rows, max_bytes)
        return
    chosen = [source for source in inputs if isinstance(source, Source)]
    for window in windows:
        runs = _runs([source for source in chosen if source.split == window.base], lines, max_rows, max_bytes)
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
    inputs: Iterable[Source] | Iterable[Record], lines: LineIndices, max_rows: int, max_bytes: int
) -> Iterator[Piece]:
    generated: list[Record] = []
    for item in inputs:
        if isinstance(item, Record):
            generated.append(item)
            if len(generated) == max_rows:
                yield _carried(generated)
                generated = []
        elif sources.is_plain_lines(item):
            sources.refuse_changed(item)  # the index is of what it was
            yield from _line_runs(item, lines[item], max_rows, max_bytes)
            sources.refuse_changed(item)
        else:
            yield from _row_runs(sources.read_source(item), max_rows, max_bytes)
    if generated:
        yield _carried(generated)


def _carried(records: list[Record]) -> Piece:
    return Piece(number=0, first=0, num_rows=len(records), records=tuple(records))


def _row_runs(records: Iterator[Record], max_rows: int, max_bytes: int) -> Iterator[Piece]:
    """Runs of parsed rows; a row's bytes are those of its text columns."""
    run: list[Record] = []
    num_bytes = 0
    for record in records:
        run.append(record)
        values = record.row.values() if isinstance(record.row, dict) else (str(record.row),)
        num_bytes += sum(len(value) for value in values if isinstance(value, str))
        if len(run) == max_rows or num_bytes >= max_bytes:
            yield _carried(run)
            run, num_bytes = [], 0
    if run:
        yield _carried(run)


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
