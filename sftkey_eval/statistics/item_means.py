"""Means over items of numbers without bounds: an item is one observation, however often it was answered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.proportions import CONFIDENCE

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval; None where nothing is known of the spread."""

    value: float
    low: float | None
    high: float | None


def mean_of_items(
    means: Array, confidence: float = CONFIDENCE, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """Mean over items of what each has on average, with Student's interval over the items.

    The errors of one item's samples belong together (a cluster), so it is the spread between items that counts, however
    many samples each has. With one weight per item, the clustered variance is that of the item means. Source: Miller,
    Adding Error Bars to Evals, arXiv 2411.00640, section 2.2. For numbers in [0, 1] use `item_shares.item_share`.

    Args:
        means: (items,), of the samples or differences of each item.
        confidence: Of the interval.
        bounds: What the mean can be at all, such as 0 and above; the interval ends there.

    Returns:
        Without an interval where there is one item, or all have the same number.

    Raises:
        SFTKeyError: No items.
    """
    if len(means) == 0:
        raise SFTKeyError("no items: there is no mean of nothing")
    value = float(means.mean())
    if np.ptp(means) == 0:
        return Estimate(value, None, None)
    half = float(t.isf((1 - confidence) / 2, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return Estimate(value, max(bounds[0], value - half), min(bounds[1], value + half))
