"""Two runs item by item, counted in pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sftkey_data.arrays import Bools, Int64s
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.comparability import refuse_unlike, rows_of_same_id
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import COMPOSITE_WEIGHTS, PAPER_WEIGHT, Shares
from sftkey_eval.records.verdicts import Outcome
from sftkey_eval.statistics import proportions
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, mixture
from sftkey_eval.statistics.sign_flip import sign_flip

FORMAT_MARGIN = 0.01
"""Non-inferiority margin of the format rate, fixed beforehand: one point."""

PAIRED_OUTCOMES = {"format": "format_valid", "strict": "correct", "lenient": "lenient_correct"}
"""What is counted in pairs, and the column of the verdicts that says it."""

MarkedPair = tuple[Bools, Bools]
"""A mark of each item, (rows,), in the first run and in the second."""

CHANGES = {
    "fixed": "fixed",
    "broken": "broken",
    "format_gained": "format gained",
    "format_lost": "format lost",
    "both_right": "right in both",
    "both_wrong": "wrong in both",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRate:
    """One outcome in pairs; `difference` is second less first, as a proportion.

    Args:
        outcome: A key of `PAIRED_OUTCOMES`.
        both: Items with the outcome in both runs.
        lost: With it in the first run only (b).
        gained: With it in the second run only (c).
        neither: Without it in both.
        difference: `(gained - lost) / n`.
        low: Lower end of its 95 % interval by Newcombe; with item means, for what the items are worth.
        high: Upper end.
        p_exact: Two-sided p of McNemar's exact test; with item means, of the exact test of their signs.
        p_mid: The mid-p version of it.
        detectable: The smallest difference found with 80 % power given this many items and discordant pairs.
        test: `item_means` where an item has several samples: each item counts once, by its mean. Else `mcnemar`.
        p_non_inferior: One-sided p of "worse by the format's margin or more".
    """

    outcome: str
    both: int
    lost: int
    gained: int
    neither: int
    difference: float
    low: float
    high: float
    p_exact: float
    p_mid: float
    detectable: float
    test: Literal["mcnemar", "item_means"]
    p_non_inferior: float

    @property
    def num_items(self) -> int:
        """Pairs counted; of items with several samples, all pairs of samples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def shown(self) -> bool:
        """Whether mid-p is under 5 %."""
        return self.p_mid < 0.05


@dataclass(frozen=True, slots=True)
class PairedEstimate:
    """A difference that is no difference of counts, with its 95 % interval over the items.

    All are None where one of the runs has no such number: no completion with a valid format.
    """

    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison of `second` against `first`; all differences are second less first.

    Args:
        first: The run compared with.
        second: The run that is compared.
        second_rows: Of each verdict of the first run, (rows,), the row of the second run's of the same item.
        rates: By outcome, a key of `PAIRED_OUTCOMES`.
        given_format: Difference of the accuracy among format-valid.
        composite: Difference of the paper's composite.
        composite_curve: Difference of the composite, by weight of accuracy.
        accepted: Differences in template or prompts that were allowed, in words.
    """

    first: Run
    second: Run
    second_rows: Int64s = field(repr=False, compare=False)
    rates: dict[str, PairedRate]
    given_format: PairedEstimate
    composite: PairedEstimate
    composite_curve: dict[float, PairedEstimate]
    accepted: tuple[str, ...]

    @property
    def format_p_non_inferior(self) -> float:
        """One-sided p of "the second run's format is worse by the margin or more"."""
        return self.rates["format"].p_non_inferior

    @property
    def format_non_inferior(self) -> bool:
        """Whether the second run's format is shown not to be more than the margin worse (one-sided, 5 %)."""
        return self.format_p_non_inferior < 0.05

    @property
    def changes(self) -> dict[str, Bools]:
        """By key of `CHANGES`, which items changed so, (rows,), in the first run's order.

        The keys on the answer, of which every item has one, come before those on the format.
        """
        (before, now), (valid, valid_now) = (self.pair(name) for name in ("correct", "format_valid"))
        return {
            "fixed": ~before & now,
            "broken": before & ~now,
            "both_right": before & now,
            "both_wrong": ~before & ~now,
            "format_gained": ~valid & valid_now,
            "format_lost": valid & ~valid_now,
        }

    def pair(self, column: str) -> MarkedPair:
        """A column of marks in both runs, in the first run's order."""
        return _pair(column, self.first, self.second, self.second_rows)

    def at(self, rows: Int64s) -> Iterator[tuple[Outcome, Outcome]]:
        """Both verdicts of some items, given by the first run's rows."""
        return zip(self.first.verdicts.at(rows), self.second.verdicts.at(self.second_rows[rows]), strict=True)


def compare_runs(first: Run, second: Run, allowed: Allowed | None = None) -> Comparison:
    """Count two runs in pairs.

    Raises:
        SFTKeyError: Ids, golds, questions or policy differ, or templates or prompts do without being allowed.
    """
    accepted = refuse_unlike(first, second, allowed or Allowed())
    rows = rows_of_same_id(first, second)
    pairs = {name: _pair(column, first, second, rows) for name, column in PAIRED_OUTCOMES.items()}
    share_of = Shares(first.verdicts.items)
    weights = (PAPER_WEIGHT, *COMPOSITE_WEIGHTS)
    given_format, composite, *curve = _estimates(pairs["strict"], pairs["format"], share_of, weights)
    return Comparison(
        first=first,
        second=second,
        second_rows=rows,
        rates={name: _paired_rate(name, pair, share_of) for name, pair in pairs.items()},
        given_format=given_format,
        composite=composite,
        composite_curve=dict(zip(COMPOSITE_WEIGHTS, curve, strict=True)),
        accepted=accepted,
    )


def _pair(column: str, first: Run, second: Run, second_rows: Int64s) -> MarkedPair:
    return first.verdicts.flags(column), second.verdicts.flags(column)[second_rows]


def _paired_rate(name: str, pair: MarkedPair, share_of: Shares) -> PairedRate:
    before, now = pair
    cells = (before & now, before & ~now, ~before & now, ~before & ~now)
    both, lost, gained, neither = (int(np.count_nonzero(cell)) for cell in cells)
    numbers = _of_table((both, lost, gained, neither)) if share_of.one_each else _of_items(pair, share_of)
    return PairedRate(outcome=name, both=both, lost=lost, gained=gained, neither=neither, **numbers)


def _of_table(table: tuple[int, int, int, int]) -> dict[str, Any]:
    _, lost, gained, _ = table
    interval = proportions.newcombe_paired(*table)
    return {
        "difference": (gained - lost) / sum(table),
        "low": interval.low,
        "high": interval.high,
        "p_exact": proportions.mcnemar_exact(lost, gained),
        "p_mid": proportions.mcnemar_midp(lost, gained),
        "detectable": proportions.minimal_detectable_effect(sum(table), lost + gained),
        "test": "mcnemar",
        "p_non_inferior": proportions.noninferiority(*table, margin=FORMAT_MARGIN),
    }


def _of_items(pair: MarkedPair, share_of: Shares) -> dict[str, Any]:
    """By the share of each item's samples; where every item's samples agree, the same as one sample of each."""
    first, second = map(share_of.measured, pair)
    limits = difference(first, second)
    interval, change = limits(proportions.QUANTILE), second.value - first.value
    before, now = map(share_of.sums, pair)
    p = sign_flip((now - before) / share_of.sizes)
    return {
        "difference": change,
        "low": interval.low,
        "high": interval.high,
        "p_exact": p.exact,
        "p_mid": p.mid,
        "detectable": proportions.detectable_by_interval(interval),
        "test": "item_means",
        "p_non_inferior": proportions.p_worse(change, limits, margin=FORMAT_MARGIN),
    }


def _estimates(
    correct: MarkedPair, valid: MarkedPair, share_of: Shares, weights: Sequence[float]
) -> list[PairedEstimate]:
    """Differences of the accuracy among format-valid, then of the composite at each weight."""
    runs = list(zip(correct, valid, strict=True))
    nobody_valid = not all(its_valid.any() for its_valid in valid)
    among_valid = [] if nobody_valid else [share_of.measured(its_correct, among) for its_correct, among in runs]
    given_format = _estimate(*among_valid) if among_valid else PairedEstimate(None, None, None)
    parts = [(share_of.measured(its_correct), share_of.measured(its_valid)) for its_correct, its_valid in runs]
    composites = [_estimate(*(mixture(weight, *rates) for rates in parts)) for weight in weights]
    return [given_format, *composites]


def _estimate(first: MeasuredShare, second: MeasuredShare) -> PairedEstimate:
    interval = difference(first, second)(proportions.QUANTILE)
    return PairedEstimate(second.value - first.value, interval.low, interval.high)
