"""Rows of a source as a build would write them, without writing anything."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from sftkey_data.building.plan import Plan
from sftkey_data.prepare.unit import Unit, prepare

EXAMPLE_TRIES = 100  # rows among which an example is looked for: a source may begin with rows that are rejected


def preview(plan: Plan, num: int | None = None, *, at_a_time: int = 1) -> Iterator[Unit]:
    """What becomes of a source's rows, in order.

    Args:
        plan: Of the build.
        num: Only so many rows; all when None.
        at_a_time: Rows of a unit. One by one, examples and rejects come as the rows stand; many are quicker.

    Raises:
        SFTKeyError: The extractor itself failed, or a row's file is broken.
    """
    records = enumerate(islice(plan.records(), num), start=plan.first)
    while batch := list(islice(records, at_a_time)):
        yield prepare(batch, plan.recipe)


def first_example(plan: Plan, *, held: bool = False) -> dict[str, Any] | None:
    """The first row of the input that becomes an example, as the shards hold it; None if none of the first 100 does.

    Args:
        plan: Of the build.
        held: Look for one that is held out.
    """
    units = preview(plan, EXAMPLE_TRIES)
    rows = (row for unit in units for row in unit.table.filter(pa.array(unit.held == held)).to_pylist())
    return next(rows, None)
