"""Rows of Arrow's columns as Python values: narrow floats as they read, no pictures or sounds decoded."""

import io
import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_steps
from sftkey_data.guards.proven_columns import refuse_unproven
from sftkey_data.sources.readers import BrokenRow, Record
from sftkey_data.sources.row_bounds import Unpacking, read_bounded

ROWS_AT_ONCE = 4_096  # converted to Python's objects
FILE_START = b"ARROW1"  # of an IPC file; a stream, as `datasets` writes it, has none
NARROW = {pa.float16(): np.float16, pa.float32(): np.float32}


def read_arrow(file: IO[bytes], name: str) -> Iterator[Record]:
    """Rows of an Arrow IPC file or stream that can be sought."""
    disk_bytes = end_of(file)
    try:
        number = 0
        proven = _proven_batches(file, name, disk_bytes)
        steps = ((batch.schema, batch_rows(batch)) for batch in proven)
        for schema, rows in bounded_steps(steps, name, disk_bytes):
            for row in rows:
                number += 1
                yield Record(name, number, _without_media(row, schema))
    except (pa.ArrowException, OSError, ValueError) as error:  # a ValueError where a count is negative
        raise SFTKeyError(f"{name}: not a readable Arrow file: {_said(error)}") from None


def _proven_batches(file: IO[bytes], name: str, disk_bytes: int) -> Iterator[pa.RecordBatch]:
    unpacking = Unpacking(name, disk_bytes)
    is_file = file.read(len(FILE_START)) == FILE_START
    file.seek(0)
    for batch in _file_batches(file) if is_file else pa.ipc.open_stream(file):
        refuse_twice(batch.schema.names, name)
        refuse_unproven(batch)
        Unpacking(name, disk_bytes).add(batch.num_rows, 0)
        for first in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield unpacking.count(decoded(batch.slice(first, ROWS_AT_ONCE)))


def _file_batches(file: IO[bytes]) -> Iterator[pa.RecordBatch]:
    content = pa.ipc.open_file(file)
    return (content.get_batch(index) for index in range(content.num_record_batches))


def end_of(file: IO[bytes]) -> int:
    """How many bytes a file has that can be sought; it is at its begin afterwards."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return length


def _said(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def refuse_twice(names: list[str], name: str) -> None:
    """Refuse a file in which two columns have one name."""
    if twice := next((column for column in names if names.count(column) > 1), None):
        raise SFTKeyError(f"{name}: the column name {twice!r} stands twice")


def seekable(file: IO[bytes], name: str) -> IO[bytes]:
    """The file, or its content where it cannot be sought."""
    return file if file.seekable() and not name.endswith(".gz") else io.BytesIO(read_bounded(file, name))


def media_columns(schema: Any) -> list[str]:
    """Columns of pictures, sounds and other files, as `datasets` stores them: a struct of bytes and path.

    Of these a row holds the path alone, under `path`. Decoding would need libraries that nothing here uses, and the
    bytes would fill the rejects.
    """
    structs = [field for field in schema if pa.types.is_struct(field.type)]
    return [field.name for field in structs if {part.name for part in field.type} == {"bytes", "path"}]


def _without_media(row: Any, schema: pa.Schema) -> Any:
    if not isinstance(row, dict):
        return row
    media = {column: row[column] for column in media_columns(schema)}
    return row | {column: {"path": value["path"]} for column, value in media.items() if isinstance(value, dict)}


def batch_rows(batch: pa.RecordBatch) -> list[Any]:
    """The rows of a batch; one that Python cannot hold is a `BrokenRow`, or has one in the place of a value."""
    narrow = []
    for index, field in enumerate(batch.schema):
        if _holds(field.type, *NARROW):
            try:
                batch = batch.set_column(index, field.name, _as_doubles(batch.column(index)))
            except pa.ArrowException:  # a kind that it cannot cast: value by value then
                narrow.append(field)
    rows = _rows(batch)
    for row in rows if narrow else ():
        if isinstance(row, dict):
            row.update({field.name: as_written(row[field.name], field.type) for field in narrow})
    return rows


def narrow_columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The columns that hold floats of 16 or 32 bits, at any depth, with their types; see `as_written`."""
    return {field.name: field.type for field in schema if _holds(field.type, *NARROW)}


def as_written(value: Any, kind: pa.DataType) -> Any:
    """A value of a column, its narrow floats as the doubles that read as they do.

    A 32-bit 0.1 reads 0.1, but as a double it is 0.10000000149011612.
    """
    if value is None:
        return None
    if kind in NARROW and isinstance(value, float):
        return float(str(NARROW[kind](value)))
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {name: as_written(inner, kind.field(name).type) for name, inner in value.items()}
    if pa.types.is_map(kind) and isinstance(value, list):
        return [(key, as_written(inner, kind.item_type)) for key, inner in value]
    if pa.types.is_dictionary(kind):
        return as_written(value, kind.value_type)
    if isinstance(value, list) and hasattr(kind, "value_type"):
        return [as_written(inner, kind.value_type) for inner in value]
    return value


def _as_doubles(column: pa.Array) -> pa.Array:
    """A column with its 32-bit floats as doubles, by way of their text, which is the shortest that reads back."""
    kind = column.type
    if kind == pa.float16():  # whose text Arrow does not shorten
        numbers = column.to_numpy(zero_copy_only=False)
        doubles = [float(str(number)) for number in numbers]
        return pa.array(doubles, pa.float64(), mask=column.is_null().to_numpy(zero_copy_only=False))
    if _holds(kind, pa.float16()):
        raise pa.ArrowNotImplementedError("halves inside a list")
    return column.cast(_replaced(kind, pa.string())).cast(_replaced(kind, pa.float64()))


def _holds(kind: pa.DataType, *wanted: pa.DataType) -> bool:
    if kind in wanted:
        return True
    inner = [kind.value_type] if hasattr(kind, "value_type") else []
    inner += [kind.item_type] if pa.types.is_map(kind) else []
    inner += [field.type for field in kind] if pa.types.is_struct(kind) else []
    return any(_holds(one, *wanted) for one in inner)


def _replaced(kind: pa.DataType, by: pa.DataType) -> pa.DataType:
    """The type with `by` for each 32-bit float in it."""
    if kind == pa.float32():
        return by
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_replaced(field.type, by)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_replaced(kind.value_type, by)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_replaced(kind.value_type, by)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_replaced(kind.value_type, by)))
    if pa.types.is_dictionary(kind):
        return _replaced(kind.value_type, by)
    return kind  # what else holds one is not cast: the values differ from the type, and Arrow says so


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with what its dictionaries hold in the place of the indices, which is quicker to read."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_dictionary(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).dictionary_decode())
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
