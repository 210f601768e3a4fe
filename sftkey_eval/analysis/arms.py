"""Arms that were trained with several seeds: the same label several times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sftkey_data.arrays import Int64s
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.comparability import refuse_unlike
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.paired_comparison import PAIRED_OUTCOMES
from sftkey_eval.analysis.summary import Shares
from sftkey_eval.records.outcome_columns import in_file_order
from sftkey_eval.statistics.arm_seeds import SeedEstimate, arm_difference, arm_share
from sftkey_eval.statistics.item_means import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRates:
    """What an arm has over its seeds.

    Args:
        label: The arm's.
        num_items: Items.
        num_seeds: Its runs.
        rates: By outcome; without an interval where the arm has one run only.
    """

    label: str
    num_items: int
    num_seeds: int
    rates: dict[str, SeedEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRate:
    """A difference between two arms over items and seeds, second less first.

    `detectable` is the smallest difference found with 80 % power. All but the difference are None where an arm has one
    run only.
    """

    difference: float
    low: float | None
    high: float | None
    detectable: float | None

    @property
    def shown(self) -> bool:
        """Whether the 95 % interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """An arm against the first one; differences are second less first, over items and seeds.

    Args:
        first: Label of the arm compared with.
        second: Label of the arm that is compared.
        num_items: Items.
        num_seeds: Runs of each arm, in that order.
        rates: By outcome.
    """

    first: str
    second: str
    num_items: int
    num_seeds: tuple[int, int]
    rates: dict[str, ArmRate]


def arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each arm, in the order they were given."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.arm, []).append(run)
    return found


def arm_rates(runs: Sequence[Run]) -> list[ArmRates]:
    """What each arm has over its seeds, where any has several runs, all of the same items; else none."""
    by_arm = arms(runs)
    if len(by_arm) == len(runs):
        return []
    order = in_file_order(runs[0].verdicts.items)  # one order for all: row i of every array is the same item
    return [
        ArmRates(
            label=label,
            num_items=len(order),
            num_seeds=len(its_runs),
            rates={name: arm_share(_item_means(its_runs, order, name)) for name in PAIRED_OUTCOMES},
        )
        for label, its_runs in by_arm.items()
    ]


def compare_arms(runs: Sequence[Run], allowed: Allowed | None = None) -> list[ArmComparison]:
    """Every arm against the first, where any has several runs; else none.

    Raises:
        SFTKeyError: Two runs cannot be paired, see `compare_runs`.
    """
    by_arm = arms(runs)
    if len(by_arm) < 2 or len(by_arm) == len(runs):
        return []
    for run in runs[1:]:
        refuse_unlike(runs[0], run, allowed or Allowed())
    (first, its_runs), *others = by_arm.items()
    return [_compare(first, its_runs, second, second_runs) for second, second_runs in others]


def _compare(first: str, its_runs: list[Run], second: str, second_runs: list[Run]) -> ArmComparison:
    order = in_file_order(its_runs[0].verdicts.items)
    rates = {}
    for name in PAIRED_OUTCOMES:
        found = arm_difference(_item_means(its_runs, order, name), _item_means(second_runs, order, name))
        rates[name] = ArmRate(difference=found.value, low=found.low, high=found.high, detectable=found.detectable)
    num_seeds = (len(its_runs), len(second_runs))
    return ArmComparison(first=first, second=second, num_items=len(order), num_seeds=num_seeds, rates=rates)


def _item_means(runs: Sequence[Run], order: Int64s, outcome: str) -> Array:
    """The share of each item's samples that have the outcome, (items, runs); all runs have the same items."""
    shares = [(Shares(run.verdicts.items), run.verdicts.flags(PAIRED_OUTCOMES[outcome])) for run in runs]
    return np.stack([share_of.sums(flags) / share_of.sizes for share_of, flags in shares], axis=1)[order]
