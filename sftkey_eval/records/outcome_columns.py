"""The outcomes of a run by column, so that a report on a million completions fits into little memory."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Bools, Int64s
from sftkey_eval.records.verdicts import Outcome

OUTCOMES_AT_ONCE = 2_000
"""So many outcomes are made of the columns at a time."""

_NAMES = tuple(field.name for field in fields(Outcome) if field.name != "metrics")


def outcome_columns(batch: pa.RecordBatch, metrics: Sequence[str] = ()) -> pa.RecordBatch:
    """What a batch of a verdicts file says without the texts of prompts and completions, for `RunOutcomes`.

    A text that stands in several rows is held once; choices are held as JSON.
    """
    held = {name: _held(batch.column(name)) for name in (*_NAMES, *metrics)}
    return pa.RecordBatch.from_arrays([*held.values()], names=[*held])


def _held(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
        column = pa.array(texts, pa.string())
    if not pa.types.is_string(column.type):
        return column
    return column.cast(pa.large_string()).dictionary_encode()  # large: all of a run may be more than 2 GiB


class RunOutcomes:
    """The outcomes of a run in the order of its file; each is made of the columns when it is asked for.

    It takes about a hundred bytes a row and what its different texts take, a tenth of what as many objects take.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], metrics: Sequence[str] = ()) -> None:
        """Put batches of `outcome_columns` together; all have the same metrics."""
        self._table = pa.Table.from_batches(list(batches)).unify_dictionaries().combine_chunks()
        self._metrics = tuple(metrics)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunOutcomes) or self._metrics != other._metrics or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __iter__(self) -> Iterator[Outcome]:
        return self.at(range(len(self)))

    def at(self, rows: Sequence[int] | Int64s) -> Iterator[Outcome]:
        """The outcomes of these rows, in the order of `rows`."""
        for start in range(0, len(rows), OUTCOMES_AT_ONCE):
            taken = self._table.take(pa.array(rows[start : start + OUTCOMES_AT_ONCE], pa.int64()))
            columns = {name: _values(name, taken.column(name)) for name in taken.column_names}
            measured = [columns.pop(name) for name in self._metrics]
            columns["metrics"] = list(zip(*measured, strict=True)) if measured else [()] * len(taken)
            for values in zip(*columns.values(), strict=True):
                yield Outcome(**dict(zip(columns, values, strict=True)))

    def column(self, name: str) -> pa.Array:
        """The column of an outcome's field, or of a metric, (rows,); choices as JSON."""
        (array,) = self._table.column(name).chunks
        return _texts(array)

    def values(self, name: str) -> list[Any]:
        """A field of every outcome."""
        return _values(name, self._table.column(name))

    def flags(self, name: str) -> Bools:
        """A column of yes and no, (rows,)."""
        flags: Bools = pc.fill_null(self.column(name), False).to_numpy(zero_copy_only=False)
        return flags

    def equals(self, name: str, text: str) -> Bools:
        """Where a column of texts has this one, (rows,)."""
        same: Bools = pc.fill_null(pc.equal(self.column(name), text), False).to_numpy(zero_copy_only=False)
        return same

    def counts(self, name: str) -> dict[str, int]:
        """How many rows have which text of a column, in the order in which they come first; none is an empty one."""
        found = pc.value_counts(pc.fill_null(self.column(name), ""))
        return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))

    @cached_property
    def items(self) -> Int64s:
        """The number of the item of each row, (rows,): 0, 1, … in the order of the item ids."""
        return item_numbers(self.column("item_id"))


def item_numbers(item_ids: pa.Array) -> Int64s:
    """The place of each id, (rows,), among all that occur: 0, 1, … in the order of code points."""
    places: Int64s = pc.rank(item_ids, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    return places - 1


def in_file_order(items: Int64s) -> Int64s:
    """The numbers of items, (items,), in the order in which they come first in `items`."""
    numbers, first_rows = np.unique(items, return_index=True)
    ordered: Int64s = numbers[np.argsort(first_rows)]
    return ordered


def _texts(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    shared: dict[Any, Any] = {}  # a text that several rows have is one object
    texts = [shared.setdefault(text, text) for text in _texts(column).to_pylist()]
    return [text and tuple(json.loads(text)) for text in texts] if name == "choices" else texts
