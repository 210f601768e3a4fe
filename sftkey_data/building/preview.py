"""Rows of a source as a build would write them, without writing anything."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sftkey_data.building.plan import Plan
from sftkey_data.prepare.unit import Unit, prepare
from sftkey_data.storage.arrow_columns import truth_column

EXAMPLE_TRIES = 100  # rows among which an example is looked for: a source may begin with rows that are rejected


def preview(plan: Plan, num: int | None = None, *, at_a_time: int = 1) -> Iterator[Unit]:
    """What becomes of a source's rows, in order.

    Args:
        plan: Of the build.
        num: Only so many rows of each source; all when None.
        at_a_time: Rows of a unit. One by one, examples and rejects come as the rows stand; many are quicker.

    Raises:
        SFTKeyError: The extractor itself failed, or a row's file is broken.
    """
    for recipe, records in plan.readings(copies=num is None):
        wanted = islice(records, num)
        while batch := list(islice(wanted, at_a_time)):
            yield prepare(batch, recipe)


def first_example(plan: Plan, *, held: bool = False) -> dict[str, Any] | None:
    """The first row that becomes an example, as the shards hold it; None if none of the first 100 of a source does.

    Args:
        plan: Of the build.
        held: Look for one that is held out.
    """
    units = preview(plan, EXAMPLE_TRIES)
    rows = (row for unit in units for row in unit.table.filter(truth_column(unit.held == held)).to_pylist())
    return next(rows, None)
