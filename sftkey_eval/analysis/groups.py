"""Accuracy by group of items: by the length of the chain of thought, by answer type. Every item is in one group."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import quantiles
from typing import Any

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
    placed: Sequence[Sequence[int]] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values, without a number for every verdict."""
        return {name: value for name, value in asdict(self).items() if name != "placed"}


def breakdowns(runs: Sequence[Run]) -> list[Breakdown]:
    """By CoT length, and by answer type where there is more than one."""
    found = [by_cot_length(runs), by_answer_type(runs)]
    return [breakdown for breakdown in found if len(breakdown.groups) > 1]


def by_answer_type(runs: Sequence[Run]) -> Breakdown:
    """Accuracy by the type the Key was graded as."""
    types = sorted({verdict.answer_type for run in runs for verdict in run.verdicts})
    labels = [[types.index(verdict.answer_type) for verdict in run.verdicts] for run in runs]
    names = tuple(types)
    return Breakdown(
        name="answer_type",
        title="answer type",
        unit="",
        groups=names,
        rates=_rates(runs, labels, len(names)),
        placed=labels,
    )


def by_cot_length(runs: Sequence[Run]) -> Breakdown:
    """Accuracy by the number of words in the CoT, in groups of about equal size over all runs together.

    The groups are those of each run's own completions, so a group holds other items in another run. A completion that
    does not parse counts with all its words.
    """
    lengths = [run.cot_words for run in runs]
    pooled = [length for run in lengths for length in run]
    cuts = sorted({round(cut) for cut in quantiles(pooled, n=MAX_BINS, method="inclusive")}) if len(pooled) > 1 else []
    cuts = [cut for cut in cuts if min(pooled) <= cut < max(pooled)]  # a group below or above these would be empty
    # Cuts 10 and 20 make the groups up to 10, 11 to 20, and above: a length of 10 is in group 0.
    placed = [[sum(length > cut for cut in cuts) for length in run] for run in lengths]
    borders = [(low + 1, high) for low, high in pairwise([min(pooled) - 1, *cuts, max(pooled)])]
    names = tuple(f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in borders)
    return Breakdown(
        name="cot_length",
        title="CoT length",
        unit="words",
        groups=names,
        rates=_rates(runs, placed, len(names)),
        placed=placed,
    )


def _rates(runs: Sequence[Run], placed: Sequence[Sequence[int]], num_groups: int) -> dict[str, tuple[Rate, ...]]:
    found = {}
    for run, groups in zip(runs, placed, strict=True):
        share_of = Shares(run.verdicts)
        among = [[at == group for at in groups] for group in range(num_groups)]
        correct = [[a and v.correct for a, v in zip(within, run.verdicts, strict=True)] for within in among]
        found[run.label] = tuple(map(share_of, correct, among))
    return found
