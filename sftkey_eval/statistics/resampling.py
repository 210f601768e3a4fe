"""Intervals by resampling, and for items that were answered several times: what counts as one observation is an item.

Seeded, so that the same verdicts give the same report. All columns of a call are resampled together: ratios and
weighted sums of rates, which have no interval in closed form, are computed in every resample.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.proportions import CONFIDENCE, Interval

RESAMPLES = 4_000
RESAMPLING_SEED = 0
MOST_COUNTS = 2**22  # random numbers at once

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or difference of means with its interval; None where too few items say nothing about the spread."""

    value: float
    low: float | None
    high: float | None


def resampled_means(columns: Array, *, resamples: int = RESAMPLES, seed: int = RESAMPLING_SEED) -> Array:
    """Means of the columns over items drawn with replacement, the same items for all columns.

    Items with the same row are drawn as one kind, in the number that a multinomial gives them: the same distribution as
    drawing items one by one, and for columns of zeros and ones a matter of a few kinds.

    Args:
        columns: (items, m), one row an item.
        resamples: How many times the items are drawn.
        seed: Of the drawing.

    Returns:
        (resamples, m).

    Raises:
        SFTKeyError: No items.
    """
    num_items = len(columns)
    if num_items == 0:
        raise SFTKeyError("no items: there is no mean of nothing")
    kinds, counts = np.unique(columns, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, MOST_COUNTS // len(kinds))
    drawn = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([rng.multinomial(num_items, counts / num_items, num) @ kinds for num in drawn]) / num_items


def bootstrap(
    columns: Array,
    statistic: Callable[[Array], Array],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = RESAMPLING_SEED,
) -> list[Interval]:
    """Percentile intervals of functions of column means, such as ratios; items are resampled in pairs.

    Args:
        columns: (items, m).
        statistic: From means (r, m) to values (r, s); resamples in which a value is not finite are left out of it.
        confidence: Of each interval.
        resamples: How many times the items are drawn.
        seed: Of the drawing.

    Returns:
        One interval for each of the s values.

    Raises:
        SFTKeyError: No items, or a value that is finite in no resample.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(resampled_means(columns, resamples=resamples, seed=seed))
    return [_percentiles(column[np.isfinite(column)], confidence) for column in values.T]


def mean_of_items(
    means: Array, confidence: float = CONFIDENCE, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """Mean over items of what each has on average, with Student's interval over the items.

    The errors of one item's samples belong together (a cluster), so it is the spread between items that counts, however
    many samples each has. Source: Miller, Adding Error Bars to Evals, arXiv 2411.00640, section 2.2; with one weight
    per item, the clustered variance is that of the item means.

    Args:
        means: (items,), of the samples or differences of each item.
        confidence: Of the interval.
        bounds: What the mean can be at all, such as 0 and 1 of a share; the interval ends there.

    Raises:
        SFTKeyError: No items.
    """
    if len(means) == 0:
        raise SFTKeyError("no items: there is no mean of nothing")
    value = float(means.mean())
    if len(means) == 1:
        return Estimate(value, None, None)
    half = float(t.isf((1 - confidence) / 2, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return Estimate(value, max(bounds[0], value - half), min(bounds[1], value + half))


def items_by_seeds(
    first: Array,
    second: Array,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = RESAMPLING_SEED,
) -> Estimate:
    """Difference of two arms trained with several seeds each, second less first, over items and seeds alike.

    Items are drawn with replacement for both arms together, seeds for each arm by itself (they were trained apart).
    Drawing both ways counts part of the noise twice (Owen, Annals of Applied Statistics 1 (2007) 386-411), and a few
    seeds show too little of their spread; so each drawn seed's distance from its arm's mean is stretched by
    sqrt(s / (s - 1)), as in the unbiased variance.

    Args:
        first: (items, seeds), each entry what the run of that seed has for that item.
        second: (items, seeds) of the same items; the number of seeds may differ.
        confidence: Of the interval.
        resamples: How many times items and seeds are drawn.
        seed: Of the drawing.

    Returns:
        Without an interval where an arm has a single seed: nothing is known of its spread.

    Raises:
        SFTKeyError: No items or no seeds, or other numbers of items.
    """
    if first.size == 0 or second.size == 0 or len(first) != len(second):
        raise SFTKeyError(f"expected the same items under each seed, found {first.shape} and {second.shape}")
    value = float(second.mean() - first.mean())
    if min(first.shape[1], second.shape[1]) == 1:
        return Estimate(value, None, None)
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        counts = np.bincount(rng.integers(len(first), size=len(first)), minlength=len(first)) / len(first)
        drawn[i] = _drawn_seeds(counts @ second, rng) - _drawn_seeds(counts @ first, rng)
    interval = _percentiles(drawn, confidence)
    return Estimate(value, interval.low, interval.high)


def _drawn_seeds(by_seed: Array, rng: np.random.Generator) -> float:
    num, centre = len(by_seed), by_seed.mean()
    distance = by_seed[rng.integers(num, size=num)].mean() - centre
    return float(centre + distance * np.sqrt(num / (num - 1)))


def _percentiles(values: Array, confidence: float) -> Interval:
    if len(values) == 0:
        raise SFTKeyError("the statistic has no value in any resample")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
