"""Means of a user's own metrics: of each run, and of each group of its items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from sftkey_eval.analysis.groups import Breakdown
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import Rate, Shares, rate
from sftkey_eval.records.outcome_columns import RunOutcomes, in_file_order
from sftkey_eval.statistics.item_means import Array, mean_of_items


@dataclass(frozen=True, slots=True)
class MetricMean:
    """The mean over items of a metric, with Student's 95 % interval over them; `n` values had one."""

    value: float
    low: float | None
    high: float | None
    n: int


Measured = Rate | MetricMean | None
"""A share where every value of every run is 0 or 1, else a mean; None where nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMetric:
    """What one metric says.

    Args:
        name: Of its function.
        description: In its author's words; empty where there are none.
        values: By run label.
        groups: By name of a breakdown and run label, one for each of its groups.
    """

    name: str
    description: str
    values: dict[str, Measured]
    groups: dict[str, dict[str, tuple[Measured, ...]]]


def own_metrics(runs: Sequence[Run], breakdowns: Sequence[Breakdown]) -> list[OwnMetric]:
    """Every metric that a run has, in the order in which they come."""
    described = {name: said for run in runs for name, said in _described(run).items()}
    return [_metric(name, said, runs, breakdowns) for name, said in described.items()]


def _described(run: Run) -> dict[str, str]:
    return {str(metric["name"]): str(metric["description"]) for metric in run.provenance.get("metrics") or ()}


def _metric(name: str, said: str, runs: Sequence[Run], breakdowns: Sequence[Breakdown]) -> OwnMetric:
    values = [_values(run, name) for run in runs]
    are_shares = all(np.isin(of_run[~np.isnan(of_run)], (0.0, 1.0)).all() for of_run in values)

    def by_group(breakdown: Breakdown) -> dict[str, tuple[Measured, ...]]:
        return {
            run.label: tuple(
                _measured(run.verdicts, np.where(at == group, measured, np.nan), are_shares)
                for group in range(len(breakdown.groups))
            )
            for run, measured, at in zip(runs, values, breakdown.placed, strict=True)
        }

    return OwnMetric(
        name=name,
        description=said,
        values={run.label: _measured(run.verdicts, v, are_shares) for run, v in zip(runs, values, strict=True)},
        groups={breakdown.name: by_group(breakdown) for breakdown in breakdowns},
    )


def _values(run: Run, name: str) -> Array:
    """(rows,), NaN where the metric says nothing."""
    if name not in _described(run):
        return np.full(len(run.verdicts), np.nan)
    values: Array = pc.fill_null(run.verdicts.column(name), np.nan).to_numpy()
    return values


def _measured(verdicts: RunOutcomes, values: Array, are_shares: bool) -> Measured:
    known = ~np.isnan(values)
    if not known.any():
        return rate(0, 0) if are_shares else None
    items, measured = verdicts.items[known], values[known]
    if are_shares:
        return Shares(items)(measured == 1)
    order = in_file_order(items)
    mean = mean_of_items(np.bincount(items, weights=measured)[order] / np.bincount(items)[order])
    return MetricMean(mean.value, mean.low, mean.high, len(measured))
