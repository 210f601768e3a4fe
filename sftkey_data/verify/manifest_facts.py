"""What the manifest alone says about a row: its id, its data set and split, what kinds of values it may hold."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Int64s
from sftkey_data.extract.parts import ANSWER_TYPES
from sftkey_data.prepared.manifest import Manifest

ROW_NUMBER = r"^(0|[1-9][0-9]{0,17})$"


def fact_faults(batch: pa.RecordBatch, before: int, manifest: Manifest) -> tuple[dict[int, str], Int64s]:
    """The first fault of every row that has one, and the number in every row's id.

    Ids are `dataset/split/N`, where N counts the rows read and so grows from row to row: none can stand twice.

    Args:
        batch: Rows of a shard.
        before: The number of the id before the first; -1 where there is none.
        manifest: Of the folder.
    """
    faults = _value_faults(batch, manifest)
    prefix = f"{manifest.dataset}/{manifest.split}/"
    numbers = _numbers(batch.column("id"), prefix)
    previous = before
    for row, number in enumerate(numbers.tolist()):
        if number < 0:
            faults[row] = f"expected the id {prefix}N, N the number of the row"
        elif number == previous:
            faults[row] = "id stands twice"
        elif number < previous:
            faults[row] = f"id out of order or twice: it follows number {previous}"
        elif number < manifest.first_row:
            faults[row] = f"the id's number is {number}, but the first row read has number {manifest.first_row}"
        elif number >= manifest.last_row:
            num_rows = manifest.last_row - manifest.first_row
            faults[row] = f"the id's number is {number}, but only {num_rows} rows were read"
        previous = number
    return faults, numbers


def _numbers(ids: pa.StringArray, prefix: str) -> Int64s:
    """The number in each id; -1 where an id has another form."""
    tails = pc.utf8_slice_codeunits(ids, len(prefix))
    formed = pc.and_(pc.starts_with(ids, prefix), pc.match_substring_regex(tails, ROW_NUMBER))
    numbers: Int64s = pc.cast(pc.if_else(formed, tails, "-1"), pa.int64()).to_numpy()
    return numbers


def _value_faults(batch: pa.RecordBatch, manifest: Manifest) -> dict[int, str]:
    faults: dict[int, str] = {}
    known = {"answer_type": list(ANSWER_TYPES), "dataset": [manifest.dataset], "split": [manifest.split]}
    for name, values in known.items():
        column = batch.column(name)
        held = pc.is_in(column, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(~held).tolist():
            faults[row] = f"{name} is {column[row].as_py()!r}, expected {' or '.join(map(repr, values))}"
    choices = batch.column("choices")
    if choices.flatten().null_count:
        faults |= {row: "an option is null" for row, texts in enumerate(choices.to_pylist()) if None in (texts or ())}
    return faults
