"""Columns of Arrow made without `pyarrow.array`, and read without `to_numpy`.

These import pandas to ask whether its argument is a series, which takes longer than preparing a thousand rows, in every
worker. What is made here is byte for byte what it makes.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s, Ints

LAST_OFFSET = 2**31 - 1  # of a column of text; `pyarrow.array` makes several of one that holds more


def int_column(values: Ints) -> pa.Array:
    """A column of their type, without nulls."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def truth_column(values: NDArray[np.bool_]) -> pa.Array:
    """A column of truth values, to filter by."""
    packed = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(packed)])


def text_column(texts: Sequence[str]) -> pa.Array:
    """A column of texts.

    Raises:
        UnicodeEncodeError: One holds a lone surrogate.
    """
    joined = "".join(texts).encode()
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if int(lengths.sum()) != len(joined):  # some are not ASCII
        lengths[:] = [len(text) if text.isascii() else len(text.encode()) for text in texts]
    return _binary(pa.string(), joined, lengths) if len(joined) <= LAST_OFFSET else pa.array(texts, pa.string())


def bytes_column(values: Sequence[bytes]) -> pa.Array:
    """A column of bytes."""
    joined = b"".join(values)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return _binary(pa.binary(), joined, lengths) if len(joined) <= LAST_OFFSET else pa.array(values, pa.binary())


def _binary(kind: pa.DataType, joined: bytes, lengths: Int64s) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(joined)])


def ints_of(column: pa.Array) -> Ints:
    """The integers of a column, a null as 0."""
    return np.from_dlpack(column if column.null_count == 0 else column.fill_null(_zero(column.type)))


def _zero(kind: pa.DataType) -> pa.Scalar:
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(bytes(8))])[0]


def no_lists(kind: pa.DataType, num: int) -> pa.Array:
    """A column of so many nulls in the place of lists of text."""
    valid, offsets = np.zeros((num + 7) // 8, np.uint8), np.zeros(num + 1, np.int32)
    return pa.Array.from_buffers(
        kind, num, [pa.py_buffer(valid), pa.py_buffer(offsets)], null_count=num, children=[text_column([])]
    )
