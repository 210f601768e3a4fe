"""Reading Parquet: rows as Python values, without decoding pictures and sounds."""

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources.readers import BrokenRow, Record

PARQUET_ROWS = 4_096  # converted at a time


def read_parquet(file: IO[bytes], name: str) -> Iterator[Record]:
    """Rows of a Parquet file that can be sought."""
    try:
        content = pq.ParquetFile(file)
        names = content.schema_arrow.names
        if twice := next((column for column in names if names.count(column) > 1), None):
            raise SFTKeyError(f"{name}: the column name {twice!r} stands twice")
        media = media_columns(content.schema_arrow)
        columns = [f"{column}.path" if column in media else column for column in names]
        number = 0
        for batch in content.iter_batches(PARQUET_ROWS, columns=columns if media else None):
            for row in _rows(_shortest_floats(batch)):
                number += 1
                yield Record(name, number, row)
    except (pa.ArrowException, OSError) as error:  # an OSError where a page does not decompress
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"{name}: not a readable Parquet file: {said}") from None


def media_columns(schema: Any) -> list[str]:
    """Columns of pictures, sounds and other files, as `datasets` stores them: a struct of bytes and path.

    Of these a row holds the path alone, under `path`. Decoding would need libraries that nothing here uses, and the
    bytes would fill the rejects.
    """
    structs = [field for field in schema if pa.types.is_struct(field.type)]
    return [field.name for field in structs if {part.name for part in field.type} == {"bytes", "path"}]


def _shortest_floats(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of narrow floats as doubles that read as theirs do: a 32-bit 0.1 is not the double 0.10000000149."""
    for index, field in enumerate(batch.schema):
        if field.type in (pa.float16(), pa.float32()):
            numbers = batch.column(index).to_numpy(zero_copy_only=False)
            nulls = batch.column(index).is_null().to_numpy(zero_copy_only=False)
            doubles = pa.array([float(str(number)) for number in numbers], pa.float64(), mask=nulls)
            batch = batch.set_column(index, field.name, doubles)
    return batch


def _rows(batch: pa.RecordBatch) -> list[Any]:
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except (UnicodeDecodeError, OverflowError, ValueError):
        return [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _one_row(batch: pa.RecordBatch) -> Any:
    """The row of a batch of one. A date that Python cannot hold is no reason to lose the row's other columns."""
    row = dict[str, Any]()
    for column in batch.schema.names:
        try:
            row[column] = batch[column].to_pylist()[0]
        except UnicodeDecodeError as error:
            return BrokenRow("invalid_utf8", f"{column}: {error.reason} at byte {error.start + 1}", "")
        except (OverflowError, ValueError) as error:
            row[column] = BrokenRow("unreadable_value", f"{column}: {error}", str(error))
    return row
