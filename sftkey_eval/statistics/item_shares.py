"""Shares, mixtures of shares and their differences where an item may have several samples: the items are what varies.

Every interval is Wilson's, or made of Wilson's by square-and-add, so none has zero width. Items that do not differ from
each other say as much as so many items with one sample each, not more. All intervals are in closed form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.proportions import Interval, wilson_limits

PRIOR_ITEMS = 2.0
"""So many items as unlike as can be are added to the spread: a few items that are alike by chance do not narrow it."""
NO_SPREAD = 1e-12
"""Below it a variance is rounding, and nothing is divided by it."""


@dataclass(frozen=True, slots=True)
class MeasuredShare:
    """A number in [0, 1] over items.

    Args:
        value: The number.
        num_items: Items that say something about it.
        influence: (items,), how each item pulls on the value; they add up to 0, and their variance over the number of
            items is that of the value.
        limits: Its interval for a quantile of the normal distribution, such as 1.96.
    """

    value: float
    num_items: int
    influence: Array
    limits: Callable[[float], Interval]


def item_share(parts: Array, wholes: Array, most: float = math.inf) -> MeasuredShare:
    """The share `sum(parts) / sum(wholes)`, with Wilson's interval for as many items as the spread makes them worth.

    Items that differ as much as right and wrong do are worth one each. Less spread makes them worth more, by the
    inverse of the design effect (Korn and Graubard, Survey Methodology 24 (1998) 193-201). Without any spread each is
    worth one.

    Args:
        parts: (items,), what each item has of the share, such as its number of correct samples.
        wholes: (items,), of how many; an item with 0 is left out.
        most: What the items together can be worth, such as the number of samples.

    Raises:
        SFTKeyError: The wholes are all 0.
    """
    num_items = int(np.count_nonzero(wholes))
    if num_items == 0:
        raise SFTKeyError("no items: there is no share of nothing")
    value = float(parts.sum() / wholes.sum())
    influence = (parts - value * wholes) / wholes.mean()  # linearized: the wholes may vary, so it is a ratio
    worth = _worth(value, num_items, float((influence**2).sum()) / len(influence) ** 2, most)
    return MeasuredShare(value, num_items, influence, lambda z: Interval(*wilson_limits(value * worth, worth, z)))


def _worth(value: float, num_items: int, variance: float, most: float) -> float:
    spread, of_counts = num_items * variance, value * (1 - value)
    if min(spread, of_counts) <= NO_SPREAD:
        return num_items
    ratio = (num_items * spread / of_counts + PRIOR_ITEMS) / (num_items + PRIOR_ITEMS)
    return min(num_items / ratio, most)


def mixture(weight: float, one: MeasuredShare, other: MeasuredShare) -> MeasuredShare:
    """`weight * one + (1 - weight) * other` of the same items, by square-and-add of their intervals.

    Source: Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702. A correlation that would narrow it is not used.
    """
    value = weight * one.value + (1 - weight) * other.value
    together = max(0.0, _correlation(one, other))

    def limits(z: float) -> Interval:
        first, second = one.limits(z), other.limits(z)

        def added(a: float, b: float) -> float:
            a, b = weight * a, (1 - weight) * b
            return math.sqrt(a * a + 2 * together * a * b + b * b)

        low = value - added(one.value - first.low, other.value - second.low)
        high = value + added(first.high - one.value, second.high - other.value)
        return Interval(max(0.0, low), min(1.0, high))

    influence = weight * one.influence + (1 - weight) * other.influence
    return MeasuredShare(value, min(one.num_items, other.num_items), influence, limits)


def difference(first: MeasuredShare, second: MeasuredShare) -> Callable[[float], Interval]:
    """Interval of `second - first` of the same items, for a quantile of the normal distribution.

    Newcombe's method 10 with the correlation over the items; with one sample per item it is `newcombe_paired`.
    """
    value = second.value - first.value
    together = _correlation(first, second)
    if together > 0:  # Newcombe's continuity correction: runs that agree on every item still leave doubt
        chance = first.value * (1 - first.value) * second.value * (1 - second.value)
        together = max(0.0, together - 1 / (2 * math.sqrt(first.num_items * second.num_items * chance)))

    def limits(z: float) -> Interval:
        before, now = first.limits(z), second.limits(z)

        def added(a: float, b: float) -> float:
            return math.sqrt(max(0.0, a * a - 2 * together * a * b + b * b))

        low = value - added(second.value - now.low, before.high - first.value)
        high = value + added(now.high - second.value, first.value - before.low)
        return Interval(max(-1.0, low), min(1.0, high))

    return limits


def _correlation(one: MeasuredShare, other: MeasuredShare) -> float:
    spread = float(np.sqrt((one.influence**2).mean() * (other.influence**2).mean()))
    return float((one.influence * other.influence).mean()) / spread if spread > NO_SPREAD else 0.0
