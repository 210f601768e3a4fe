"""Reading Parquet: rows as Python values, without decoding pictures and sounds; and how much text they hold.

No thread of Arrow's begins here: it would not be there in a process that is forked later, where reading would wait for
it for ever. Threads would not help either, as most of the time goes into Python's objects.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sftkey_data.arrays import Int64s
from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_memory, bounded_steps
from sftkey_data.sources.arrow_rows import ROWS_AT_ONCE, batch_rows, decoded, end_of, media_columns, refuse_twice
from sftkey_data.sources.readers import Record, text_size
from sftkey_data.sources.row_bounds import Unpacking, refuse_row_group
from sftkey_data.storage.arrow_columns import ints_of

STEP_BYTES = 64 * 2**20
"""Of the rows that are converted at a time, by what the footer says of their size."""


def read_parquet(file: IO[bytes], name: str, start: int = 0) -> Iterator[Record]:
    """Rows of a Parquet file that can be sought, from row `start` on, counted from 0; what lies before is not made."""
    disk_bytes, number = end_of(file), start
    with _said_plainly(name):
        content = _opened(file, name, disk_bytes)
        group, before = 0, 0
        while group < content.num_row_groups and before + content.metadata.row_group(group).num_rows <= start:
            before += content.metadata.row_group(group).num_rows
            group += 1
        batches = _without_first(_batches(content, name, disk_bytes, group, content.num_row_groups), start - before)
        for rows in bounded_steps(map(batch_rows, batches), name, disk_bytes):
            for row in rows:
                number += 1
                yield Record(name, number, row)


def row_groups(file: IO[bytes], name: str) -> list[tuple[int, int]]:
    """Rows and bytes, unpacked, of each row group, by the footer."""
    with _said_plainly(name):
        footer = _opened(file, name, end_of(file)).metadata
        groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
        return [(group.num_rows, group.total_byte_size) for group in groups]


def measure_parquet(file: IO[bytes], name: str, start: int, stop: int) -> tuple[Int64s, int]:
    """What `text_size` says of each row in the row groups [start, stop), and how many bytes they unpack to."""
    disk_bytes, sizes, num_bytes = end_of(file), [np.empty(0, np.int64)], 0
    with _said_plainly(name):
        batches = _batches(_opened(file, name, disk_bytes), name, disk_bytes, start, stop)
        for found, unpacked in bounded_steps(((_text_sizes(one), one.nbytes) for one in batches), name, disk_bytes):
            sizes.append(found)
            num_bytes += unpacked
    return np.concatenate(sizes), num_bytes


def _opened(file: IO[bytes], name: str, disk_bytes: int) -> pq.ParquetFile:
    with bounded_memory(name, disk_bytes):
        content = pq.ParquetFile(file, pre_buffer=False)
    refuse_twice(content.schema_arrow.names, name)
    _refuse_bombs(content.metadata, name, disk_bytes)
    return content


def _batches(content: pq.ParquetFile, name: str, disk_bytes: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    media = media_columns(content.schema_arrow)
    columns = [f"{column}.path" if column in media else column for column in content.schema_arrow.names]
    unpacking = Unpacking(name, disk_bytes)
    for batch in content.iter_batches(
        _rows_at_once(content.metadata),
        row_groups=range(start, stop),
        columns=columns if media else None,
        use_threads=False,
    ):
        yield unpacking.count(decoded(batch))


def _without_first(batches: Iterator[pa.RecordBatch], num: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if num < batch.num_rows:
            yield batch.slice(num) if num else batch
        num = max(0, num - batch.num_rows)


def _text_sizes(batch: pa.RecordBatch) -> Int64s:
    """`text_size` of each row: counted in the columns where these say it, else in the rows."""
    sizes = np.zeros(batch.num_rows, np.int64)
    try:
        for column in batch.columns:
            column.validate(full=True)  # a row with text that is no UTF-8, at any depth, is a `BrokenRow`
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                sizes += ints_of(pc.utf8_length(column))
            elif not _is_no_text(column.type):
                break
        else:
            return sizes
    except pa.ArrowInvalid:
        pass
    return np.fromiter(map(text_size, batch_rows(batch)), np.int64, batch.num_rows)


def _is_no_text(kind: pa.DataType) -> bool:
    """Whether it is known that no value of a column is text in Python."""
    known = (pa.types.is_primitive, pa.types.is_null, pa.types.is_decimal, pa.types.is_nested, pa.types.is_binary)
    return any(is_known(kind) for is_known in known)


@contextmanager
def _said_plainly(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:  # a page that does not decompress, a name that is no text
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"{name}: not a readable Parquet file: {said}") from None


def _rows_at_once(footer: pq.FileMetaData) -> int:
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    row_bytes: int = sum(group.total_byte_size for group in groups) // max(1, footer.num_rows)
    return max(1, min(ROWS_AT_ONCE, STEP_BYTES // max(1, row_bytes)))


def _refuse_bombs(footer: pq.FileMetaData, name: str, disk_bytes: int) -> None:
    """By what the footer says of sizes; not of the columns', as Arrow ends the process where one of them is wrong."""
    Unpacking(name, disk_bytes).add(footer.num_rows, 0)
    for index in range(footer.num_row_groups):
        refuse_row_group(disk_bytes, footer.row_group(index).total_byte_size, f"{name} row group {index}")
