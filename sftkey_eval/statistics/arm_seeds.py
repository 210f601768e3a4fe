"""Arms that were trained with several seeds: what varies is the items and the seeds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, item_share
from sftkey_eval.statistics.proportions import CONFIDENCE, POWER, Interval, wilson_limits


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


def paired_arm_difference(first: Array, second: Array, confidence: float = CONFIDENCE) -> SeedEstimate:
    """Difference of two arms whose seeds belong together, second less first: both start from one stage 1 per seed.

    As `arm_difference`, but what varies over the seeds is the difference under each, by Student's interval of one mean:
    what a seed does to both arms alike is no noise. Neither are the items that are hard for both. Chance of an item
    under a seed is counted with the items and with the seeds, so the interval is rather too wide: at most by a factor
    of the root of 2, where nothing but that chance varies.

    Args:
        first: (items, seeds), what the run of that seed has for that item, in [0, 1].
        second: (items, seeds) of the same items and the same seeds, in the same order.
        confidence: Of the interval.

    Raises:
        SFTKeyError: No items or no seeds, or other numbers of them.
    """
    if first.shape != second.shape:
        raise SFTKeyError(f"expected the same items and seeds for both arms, found {first.shape} and {second.shape}")
    before, now = _over_items(first), _over_items(second)
    limits = difference(before, now)
    return _over_seeds(now.value - before.value, limits, [second - first], confidence, (-1.0, 1.0))


def arm_ratio(parts: Array, wholes: Array, confidence: float = CONFIDENCE) -> SeedEstimate | None:
    """The share `sum(parts) / sum(wholes)` of an arm over its seeds, where each has its own wholes; None without any.

    Args:
        parts: (items, seeds), such as 1 where the item counts and is right.
        wholes: (items, seeds), such as 1 where it counts.
        confidence: Of the interval.
    """
    if not wholes.any():
        return None
    measured = item_share(parts.sum(axis=1), wholes.sum(axis=1), most=float(wholes.sum()))
    pulls = (parts - measured.value * wholes) / wholes.mean()  # linearized over the seeds, as over the items
    return _over_seeds(measured.value, measured.limits, [pulls], confidence, (0.0, 1.0))


def counted_share(shares: Array, num_items: int, confidence: float = CONFIDENCE) -> SeedEstimate:
    """A share of which only the value under each seed is known, not that of each item.

    The items count as if every seed had the same ones right, which is the widest interval.

    Args:
        shares: (seeds,), in [0, 1].
        num_items: Of how many items each is.
        confidence: Of the interval.
    """
    value = float(shares.mean())

    def limits(z: float) -> Interval:
        return Interval(*wilson_limits(value * num_items, num_items, z))

    return _over_seeds(value, limits, [shares[np.newaxis]], confidence, (0.0, 1.0))


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
