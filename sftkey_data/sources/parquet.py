"""Reading Parquet: rows as Python values, without decoding pictures and sounds."""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources.arrow_rows import batch_rows, media_columns, refuse_twice
from sftkey_data.sources.readers import Record
from sftkey_data.sources.row_bounds import refuse_row_group

PARQUET_ROWS = 4_096  # converted at a time


def read_parquet(file: IO[bytes], name: str) -> Iterator[Record]:
    """Rows of a Parquet file that can be sought."""
    try:
        content = pq.ParquetFile(file)
        names = content.schema_arrow.names
        refuse_twice(names, name)
        _refuse_bombs(content.metadata, name)
        media = media_columns(content.schema_arrow)
        columns = [f"{column}.path" if column in media else column for column in names]
        number = 0
        for batch in content.iter_batches(PARQUET_ROWS, columns=columns if media else None):
            for row in batch_rows(batch):
                number += 1
                yield Record(name, number, row)
    except (pa.ArrowException, OSError) as error:  # an OSError where a page does not decompress
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"{name}: not a readable Parquet file: {said}") from None


def _refuse_bombs(footer: pq.FileMetaData, name: str) -> None:
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        chunks = [group.column(column) for column in range(group.num_columns)]
        packed = sum(chunk.total_compressed_size for chunk in chunks)
        unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
        refuse_row_group(packed, unpacked, f"{name} row group {index}")
