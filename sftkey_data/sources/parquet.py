"""Reading Parquet: rows as Python values, without decoding pictures and sounds."""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_memory, bounded_steps
from sftkey_data.sources.arrow_rows import ROWS_AT_ONCE, batch_rows, decoded, end_of, media_columns, refuse_twice
from sftkey_data.sources.readers import Record
from sftkey_data.sources.row_bounds import Unpacking, refuse_row_group

STEP_BYTES = 64 * 2**20
"""Of the rows that are converted at a time, by what the footer says of their size."""


def read_parquet(file: IO[bytes], name: str) -> Iterator[Record]:
    """Rows of a Parquet file that can be sought."""
    disk_bytes = end_of(file)
    try:
        with bounded_memory(name, disk_bytes):
            content = pq.ParquetFile(file)
        names = content.schema_arrow.names
        refuse_twice(names, name)
        _refuse_bombs(content.metadata, name, disk_bytes)
        media = media_columns(content.schema_arrow)
        columns = [f"{column}.path" if column in media else column for column in names]
        number, unpacking = 0, Unpacking(name, disk_bytes)
        batches = content.iter_batches(_rows_at_once(content.metadata), columns=columns if media else None)
        steps = (batch_rows(unpacking.count(decoded(batch))) for batch in batches)
        for rows in bounded_steps(steps, name, disk_bytes):
            for row in rows:
                number += 1
                yield Record(name, number, row)
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
