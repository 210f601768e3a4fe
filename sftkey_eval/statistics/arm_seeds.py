"""Arms that were trained with several seeds: what varies is the items and the seeds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, item_share
from sftkey_eval.statistics.proportions import CONFIDENCE, POWER, Interval


@dataclass(frozen=True, slots=True)
class SeedEstimate:
    """A share of an arm, or a difference of two, with its interval over items and seeds.

    `detectable` is the difference from 0 that would be found with 80 % power. All but the value are None where an arm
    has a single seed: nothing is known of its spread.
    """

    value: float
    low: float | None
    high: float | None
    detectable: float | None


def arm_share(runs: Array, confidence: float = CONFIDENCE) -> SeedEstimate:
    """The share of an arm over its seeds.

    Args:
        runs: (items, seeds), what the run of that seed has for that item, in [0, 1].
        confidence: Of the interval.

    Raises:
        SFTKeyError: No items or no seeds.
    """
    measured = _over_items(runs)
    return _over_seeds(measured.value, measured.limits, [runs], confidence, (0.0, 1.0))


def arm_difference(first: Array, second: Array, confidence: float = CONFIDENCE) -> SeedEstimate:
    """Difference of two arms, second less first.

    The items are the same for both arms, the seeds are each arm's own. The interval over the items and Welch's over
    the seeds are joined by square-and-add. Noise of an item under a seed is in both (Owen, Annals of Applied Statistics
    1 (2007) 386-411), so the interval is rather too wide than too narrow.

    Args:
        first: (items, seeds), what the run of that seed has for that item, in [0, 1].
        second: (items, seeds) of the same items; the number of seeds may differ.
        confidence: Of the interval.

    Raises:
        SFTKeyError: No items or no seeds, or other numbers of items.
    """
    if len(first) != len(second):
        raise SFTKeyError(f"expected the same items under each seed, found {first.shape} and {second.shape}")
    before, now = _over_items(first), _over_items(second)
    return _over_seeds(now.value - before.value, difference(before, now), [first, second], confidence, (-1.0, 1.0))


def _over_items(runs: Array) -> MeasuredShare:
    if runs.size == 0:
        raise SFTKeyError(f"expected items and seeds, found {runs.shape}")
    return item_share(runs.sum(axis=1), np.full(len(runs), float(runs.shape[1])), most=runs.size)


def _over_seeds(
    value: float,
    limits: Callable[[float], Interval],
    arms: list[Array],
    confidence: float,
    bounds: tuple[float, float],
) -> SeedEstimate:
    if min(runs.shape[1] for runs in arms) == 1:
        return SeedEstimate(value, None, None, None)
    tail, power = (1 - confidence) / 2, POWER
    error, freedom = _welch([runs.mean(axis=0) for runs in arms])
    items, seeds = limits(float(norm.isf(tail))), float(t.isf(tail, freedom)) * error
    low, high = math.hypot(value - items.low, seeds), math.hypot(items.high - value, seeds)
    of_items = (items.high - items.low) / 2 * (1 + float(norm.ppf(power) / norm.isf(tail)))
    of_seeds = seeds + float(t.ppf(power, freedom)) * error
    detectable = min(1.0, math.hypot(of_items, of_seeds))
    return SeedEstimate(value, max(bounds[0], value - low), min(bounds[1], value + high), detectable)


def _welch(means: list[Array]) -> tuple[float, float]:
    """Standard error of a sum or difference of independent means, and its degrees of freedom."""
    variances = [float(seeds.var(ddof=1)) / len(seeds) for seeds in means]
    total = sum(variances)
    if total == 0:  # the formula would be 0 / 0; with an error of 0 any number of degrees gives the same interval
        return 0.0, 1.0
    terms = (variance**2 / (len(seeds) - 1) for variance, seeds in zip(variances, means, strict=True))
    return math.sqrt(total), total**2 / sum(terms)
