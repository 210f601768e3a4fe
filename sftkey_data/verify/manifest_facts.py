"""What the manifest alone says about a row: its id, its data set and split, what kinds of values it may hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Int64s
from sftkey_data.extract.parts import ANSWER_TYPES
from sftkey_data.prepared.manifest import Manifest

ROW_NUMBER = r"^(0|[1-9][0-9]{0,17})$"


def fact_faults(batch: pa.RecordBatch, before: int, manifest: Manifest) -> tuple[dict[int, str], Int64s]:
    """The first fault of every row that has one, and the place of every row.

    Ids are `dataset/split/N`, where N counts the rows read and so grows from row to row: none can stand twice. The
    place of a row is N; in a mix, whose sources follow each other, it counts the rows of all of them.

    Args:
        batch: Rows of a shard.
        before: The place of the row before the first; -1 where there is none.
        manifest: Of the folder.
    """
    faults = _value_faults(batch, manifest)
    ranges = id_ranges(manifest)
    chosen, numbers = _read_ids(batch, ranges)
    places = numbers.copy()
    previous = before
    for row, (index, number) in enumerate(zip(chosen.tolist(), numbers.tolist(), strict=True)):
        ids = ranges[index]
        place = number if number < 0 else ids.place + number - ids.first
        if index < 0:
            faults.setdefault(row, "no source of the mix has this dataset and split")
        elif number < 0:
            faults[row] = f"expected the id {ids.prefix}N, N the number of the row"
        elif place == previous:
            faults[row] = "id stands twice"
        elif place < previous:
            faults[row] = f"id out of order or twice: it follows number {previous}"
        elif number < ids.first:
            faults[row] = f"the id's number is {number}, but the first row read has number {ids.first}"
        elif number >= ids.first + ids.rows:
            faults[row] = f"the id's number is {number}, but only {ids.rows} rows were read"
        places[row] = previous = place
    return faults, places


@dataclass(frozen=True, slots=True)
class IdRange:
    """A source of rows: what their ids begin with, the number of the first, how many, and the place of the first."""

    prefix: str
    first: int
    rows: int
    place: int


def id_ranges(manifest: Manifest) -> list[IdRange]:
    """The sources of a mix; the whole where there is none."""
    if not manifest.mix:
        first, prefix = manifest.first_row, f"{manifest.dataset}/{manifest.split}/"
        return [IdRange(prefix, first, manifest.last_row - first, first)]
    places = accumulate((one.rows for one in manifest.mix), initial=0)
    return [
        IdRange(f"{one.dataset}/{one.split}/", one.first_row, one.rows, place)
        for one, place in zip(manifest.mix, places, strict=False)
    ]


def _read_ids(batch: pa.RecordBatch, ranges: Sequence[IdRange]) -> tuple[Int64s, Int64s]:
    """Of every row the index of its range, and the number in its id; -1 where the id has another form."""
    if len(ranges) == 1:
        return np.zeros(batch.num_rows, np.int64), _numbers(batch.column("id"), ranges[0].prefix)
    known = pa.array([ids.prefix for ids in ranges])
    prefixes = pc.binary_join_element_wise(batch.column("dataset"), batch.column("split"), "", "/")
    found = pc.index_in(prefixes, known).fill_null(-1).to_numpy().astype(np.int64)
    numbers = np.full(batch.num_rows, -1, np.int64)
    for index in np.unique(found[found >= 0]).tolist():
        of_range = found == index
        numbers[of_range] = _numbers(batch.column("id").filter(pa.array(of_range)), ranges[index].prefix)
    return found, numbers


def _numbers(ids: pa.StringArray, prefix: str) -> Int64s:
    """The number in each id; -1 where an id has another form."""
    tails = pc.utf8_slice_codeunits(ids, len(prefix))
    formed = pc.and_(pc.starts_with(ids, prefix), pc.match_substring_regex(tails, ROW_NUMBER))
    numbers: Int64s = pc.cast(pc.if_else(formed, tails, "-1"), pa.int64()).to_numpy()
    return numbers


def _value_faults(batch: pa.RecordBatch, manifest: Manifest) -> dict[int, str]:
    faults: dict[int, str] = {}
    titles = [(one.dataset, one.split) for one in manifest.mix] or [(manifest.dataset, manifest.split)]
    datasets, splits = (list(dict.fromkeys(names)) for names in zip(*titles, strict=True))
    known = {"answer_type": list(ANSWER_TYPES), "dataset": datasets, "split": splits}
    for name, values in known.items():
        column = batch.column(name)
        held = pc.is_in(column, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(~held).tolist():
            faults[row] = f"{name} is {column[row].as_py()!r}, expected {' or '.join(map(repr, values))}"
    choices = batch.column("choices")
    if choices.flatten().null_count:
        faults |= {row: "an option is null" for row, texts in enumerate(choices.to_pylist()) if None in (texts or ())}
    return faults
