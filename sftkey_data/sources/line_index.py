"""How many lines and rows lie where in a file: counted leaf by leaf in any order, joined without reading again."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s
from sftkey_data.sources.row_bounds import refuse_long
from sftkey_data.storage.file_bytes import read_range


class LeafCounts(NamedTuple):
    """What a leaf says of the lines in it without what lies before it; a row is a line that is not blank.

    Args:
        breaks: Line breaks in it.
        first: 1 where the part before the first break, or all of it, holds more than white space.
        inner: Rows between two of its breaks.
        last: 1 where the part after the last break holds more than white space.
        rest: Bytes of that part.
    """

    breaks: int
    first: int
    inner: int
    last: int
    rest: int


def count_lines(leaf: bytes) -> LeafCounts:
    """The counts of a leaf that is not empty."""
    ends, filled = _parts(leaf)
    rest = len(leaf) - int(ends[-1]) if len(ends) else len(leaf)
    return LeafCounts(len(ends), int(filled[0]), int(filled[1:-1].sum()), int(filled[-1]), rest)


@dataclass(frozen=True, slots=True)
class LineIndex:
    """Of a file of lines, leaf by leaf; a line counts where it ends.

    Args:
        name: Of the file.
        size: In bytes.
        leaf_bytes: Of each leaf but the last.
        breaks: Line breaks in a leaf.
        rows: Lines that are not blank and end in a leaf.
        open_row: Whether the line that a leaf begins in has held more than white space before it.
    """

    name: str
    size: int
    leaf_bytes: int
    breaks: Int64s
    rows: Int64s
    open_row: NDArray[np.bool_]

    @property
    def num_rows(self) -> int:
        """Of the whole file."""
        return int(self.rows.sum())

    def lines(self, leaf: int) -> tuple[Int64s, Int64s]:
        """Where each line that ends in a leaf does (the byte after its break), and whether it is a row (1) or blank."""
        start = leaf * self.leaf_bytes
        stop = min(start + self.leaf_bytes, self.size)
        ends, filled = _parts(read_range(self.name, start, stop))
        filled[0] |= self.open_row[leaf]
        ends += start
        if stop < self.size or (len(ends) and ends[-1] == stop):
            return ends, filled[:-1].astype(np.int64)
        return np.append(ends, stop), filled.astype(np.int64)  # the file does not end with a line break


def index_lines(name: str, size: int, leaf_bytes: int, counts: Int64s) -> LineIndex:
    """Join what the leaves say.

    Args:
        name: Of the file.
        size: In bytes.
        leaf_bytes: Of each leaf but the last.
        counts: `LeafCounts` of each leaf in order, shape (leaves, 5).

    Raises:
        SFTKeyError: A line is longer than a row may be.
    """
    rows, open_row = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.bool_)
    is_row, begin = False, 0  # of the line that has not ended
    for leaf, (breaks, first, inner, last, rest) in enumerate(counts.tolist()):
        stop = min((leaf + 1) * leaf_bytes, size)
        open_row[leaf] = is_row
        is_row = is_row or bool(first)
        if breaks:
            rows[leaf] = is_row + inner
            is_row, begin = bool(last), stop - rest
        refuse_long(stop - begin, f"{name} at byte {begin}")
    rows[-1:] += is_row  # of a last line without a break
    return LineIndex(name, size, leaf_bytes, counts[:, 0], rows, open_row)


def _parts(leaf: bytes) -> tuple[Int64s, NDArray[np.bool_]]:
    """Where lines end in a leaf; whether the parts before, between and after these ends hold more than white space."""
    data = np.frombuffer(leaf, np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1
    borders = np.concatenate(([0], ends, [len(leaf)]))
    filled = borders[:-1] < len(leaf)  # the last part may be empty
    # blank parts begin with white space, so only such parts are looked at one by one
    for index in np.flatnonzero(data[borders[:-1][filled]] <= ord(" ")):
        filled[index] = bool(leaf[borders[index] : borders[index + 1]].strip())
    return ends, filled
