"""Two runs item by item, counted in pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.comparability import pair_up, refuse_unlike
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import COMPOSITE_WEIGHTS, PAPER_WEIGHT
from sftkey_eval.records.verdicts import Verdict
from sftkey_eval.statistics import proportions
from sftkey_eval.statistics.resampling import Array, bootstrap, mean_of_items

FORMAT_MARGIN = 0.01
"""Non-inferiority margin of the format rate, fixed beforehand: one point."""

Pairs = Sequence[tuple[Verdict, Verdict]]

PAIRED_OUTCOMES: dict[str, Callable[[Verdict], bool]] = {
    "format": lambda verdict: verdict.format_valid,
    "strict": lambda verdict: verdict.correct,
    "lenient": lambda verdict: verdict.lenient_correct,
}

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
        low: 95 % interval of the difference, lower end: Newcombe's, or of item means Student's.
        high: Its upper end.
        p_exact: McNemar's exact test, two-sided; of item means Student's.
        p_mid: The mid-p version of it; of item means the same as `p_exact`.
        detectable: The smallest difference found with 80 % power given this many items and discordant pairs.
        test: Which of the two: items with several samples are compared by their means, each item counting once.
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
    """A difference that is no difference of counts, with its seeded bootstrap 95 % interval over the items.

    All are None where one of the runs has no such number: no completion with a valid format. Ends are None where
    nothing is known of the spread.
    """

    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison of `second` against `first`, with the differences that were accepted for it.

    `given_format` is of the accuracy among format-valid, `composite` of the paper's, `composite_curve` of the composite
    at each weight of accuracy.
    """

    first: Run
    second: Run
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
    def pairs(self) -> list[tuple[Verdict, Verdict]]:
        """Both verdicts of every item, in the first run's order."""
        return pair_up(self.first, self.second)


def compare_runs(first: Run, second: Run, allowed: Allowed | None = None) -> Comparison:
    """Count two runs in pairs.

    Raises:
        SFTKeyError: Ids, golds, questions or policy differ, or templates or prompts do without being allowed.
    """
    accepted = refuse_unlike(first, second, allowed or Allowed())
    pairs = pair_up(first, second)
    items = _items(pairs)
    weights = (PAPER_WEIGHT, *COMPOSITE_WEIGHTS)
    given_format, composite, *curve = _estimates(pairs, items, weights)
    return Comparison(
        first=first,
        second=second,
        rates={name: _paired_rate(name, pairs, items) for name in PAIRED_OUTCOMES},
        given_format=given_format,
        composite=composite,
        composite_curve=dict(zip(COMPOSITE_WEIGHTS, curve, strict=True)),
        accepted=accepted,
    )


def changes(before: Verdict, now: Verdict) -> list[str]:
    """What became of an item, as keys of `CHANGES`."""
    answer = {
        (False, True): "fixed",
        (True, False): "broken",
        (True, True): "both_right",
        (False, False): "both_wrong",
    }[(before.correct, now.correct)]
    if before.format_valid == now.format_valid:
        return [answer]
    return [answer, "format_gained" if now.format_valid else "format_lost"]


def _paired_rate(name: str, pairs: Pairs, items: NDArray[np.intp]) -> PairedRate:
    outcome = PAIRED_OUTCOMES[name]
    cells = [(outcome(before), outcome(now)) for before, now in pairs]
    both, lost, gained, neither = (
        cells.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))
    )
    table = (both, lost, gained, neither)
    by_item = _of_table(table) if len(set(items)) == len(pairs) else _of_item_means(cells, items)
    return PairedRate(outcome=name, both=both, lost=lost, gained=gained, neither=neither, **by_item)


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


def _of_item_means(cells: Sequence[tuple[bool, bool]], items: NDArray[np.intp]) -> dict[str, Any]:
    """By the mean difference of each item's samples; Student's test of the means, with no spread none at all."""
    change = np.array([float(now) - float(before) for before, now in cells])
    means = np.bincount(items, weights=change) / np.bincount(items)
    found = mean_of_items(means)
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    p = p_worse = 1.0
    if error > 0:
        p = 2 * float(t.sf(abs(found.value) / error, len(means) - 1))
        p_worse = float(t.sf((found.value + FORMAT_MARGIN) / error, len(means) - 1))
    return {
        "difference": found.value,
        "low": -1.0 if found.low is None else max(-1.0, found.low),
        "high": 1.0 if found.high is None else min(1.0, found.high),
        "p_exact": p,
        "p_mid": p,
        "detectable": min(1.0, float(norm.isf(0.025) + norm.ppf(0.8)) * error) if error > 0 else 1.0,
        "test": "item_means",
        "p_non_inferior": p_worse,
    }


def _items(pairs: Pairs) -> NDArray[np.intp]:
    """The number of each pair's item."""
    _, items = np.unique([before.item_id for before, _ in pairs], return_inverse=True)
    return items


def _estimates(pairs: Pairs, items: NDArray[np.intp], weights: Sequence[float]) -> list[PairedEstimate]:
    """Differences of the accuracy among format-valid, then of the composite at each weight, resampled together."""
    flags = np.array([[float(f(v)) for v in pair for f in (_valid, _correct)] + [1.0] for pair in pairs])
    columns: Array = np.stack([np.bincount(items, weights=column) for column in flags.T], axis=1)

    def composites(means: Array) -> Array:
        valid, correct, valid_now, correct_now, all_ = means.T
        values = [(w * (correct_now - correct) + (1 - w) * (valid_now - valid)) / all_ for w in weights]
        return np.stack(values, axis=1, dtype=float)

    def given_format(means: Array) -> Array:
        valid, correct, valid_now, correct_now, _ = means.T
        return np.stack([correct_now / valid_now - correct / valid], axis=1)

    nobody_valid = (columns.sum(axis=0)[[0, 2]] == 0).any()
    first = [PairedEstimate(None, None, None)] if nobody_valid else _resampled(columns, given_format)
    return [*first, *_resampled(columns, composites)]


def _resampled(columns: Array, statistic: Callable[[Array], Array]) -> list[PairedEstimate]:
    values = statistic(columns.mean(axis=0, keepdims=True))[0]
    intervals = bootstrap(columns, statistic)
    return [PairedEstimate(float(v), i.low, i.high) for v, i in zip(values, intervals, strict=True)]


def _valid(verdict: Verdict) -> bool:
    return verdict.format_valid


def _correct(verdict: Verdict) -> bool:
    return verdict.correct
