"""Accuracy by group of items: by the length of the chain of thought, by answer type. Every item is in one group."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Int64s
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import Rate, Shares

MAX_BINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Strict accuracy by group.

    Args:
        name: For file names, in snake case.
        title: For people.
        unit: What the names of the groups count, or empty.
        groups: Names of the groups in order.
        rates: Run label -> one rate per group, over that run's items in it.
        placed: Of each run, the group of each of its verdicts.
    """

    name: str
    title: str
    unit: str
    groups: tuple[str, ...]
    rates: dict[str, tuple[Rate, ...]]
    placed: Sequence[Int64s] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values, without a number for every verdict."""
        return {name: value for name, value in asdict(replace(self, placed=())).items() if name != "placed"}


def breakdowns(runs: Sequence[Run]) -> list[Breakdown]:
    """By CoT length, and by answer type where there is more than one."""
    found = [by_cot_length(runs), by_answer_type(runs)]
    return [breakdown for breakdown in found if len(breakdown.groups) > 1]


def by_answer_type(runs: Sequence[Run]) -> Breakdown:
    """Accuracy by the type the Key was graded as."""
    names = tuple(sorted({name for run in runs for name in run.verdicts.counts("answer_type")}))
    known = pa.array(names, pa.large_string())
    types = (pc.fill_null(run.verdicts.column("answer_type"), "") for run in runs)
    placed: list[Int64s] = [pc.index_in(column, known).to_numpy().astype(np.int64) for column in types]
    return Breakdown(
        name="answer_type",
        title="answer type",
        unit="",
        groups=names,
        rates=_rates(runs, placed, len(names)),
        placed=placed,
    )


def by_cot_length(runs: Sequence[Run]) -> Breakdown:
    """Accuracy by the number of words in the CoT, in groups of about equal size over all runs together.

    The groups are those of each run's own completions, so a group holds other items in another run. A completion that
    does not parse counts with all its words.
    """
    lengths = [np.asarray(run.cot_words, np.int64) for run in runs]
    pooled = np.sort(np.concatenate(lengths))
    shortest, longest = int(pooled[0]), int(pooled[-1])
    # A group below or above these would be empty.
    quantiles = _quantiles(pooled, MAX_BINS) if len(pooled) > 1 else []
    cuts = sorted({cut for cut in map(round, quantiles) if shortest <= cut < longest})
    # Cuts 10 and 20 make the groups up to 10, 11 to 20, and above: a length of 10 is in group 0.
    placed: list[Int64s] = [np.searchsorted(cuts, run) for run in lengths]
    borders = [(low + 1, high) for low, high in pairwise([shortest - 1, *cuts, longest])]
    names = tuple(f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in borders)
    return Breakdown(
        name="cot_length",
        title="CoT length",
        unit="words",
        groups=names,
        rates=_rates(runs, placed, len(names)),
        placed=placed,
    )


def _quantiles(ordered: Int64s, num: int) -> list[float]:
    """The cuts of `statistics.quantiles` by its method "inclusive", in the memory of the array."""
    steps = (divmod(step * (len(ordered) - 1), num) for step in range(1, num))
    return [(int(ordered[at]) * (num - past) + int(ordered[at + 1]) * past) / num for at, past in steps]


def _rates(runs: Sequence[Run], placed: Sequence[Int64s], num_groups: int) -> dict[str, tuple[Rate, ...]]:
    found = {}
    for run, groups in zip(runs, placed, strict=True):
        share_of, correct = Shares(run.verdicts.items), run.verdicts.flags("correct")
        among = (groups == group for group in range(num_groups))
        found[run.label] = tuple(share_of(correct & within, among=within) for within in among)
    return found
