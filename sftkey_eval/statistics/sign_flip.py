"""An exact test of paired differences by item: if two runs are equally good on an item, its sign is a coin's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom, norm

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.item_means import Array

if TYPE_CHECKING:
    from sftkey_data.arrays import Int64s

GRID = 20_160
"""Differences are counted in parts of this: whole for means of 1 to 10, 12, 14, 15, 16, 20, 32 or 64 samples."""
MOST_SUMS = 2**16
"""So many sums have a chance of their own, one entry each in `_null`; more are made fewer by rounding the scores."""
MANY_ITEMS = 2_000
"""From so many differences on, the sum has the normal distribution in every digit that is printed."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two-sided p values: exact, and mid-p, which is less conservative and seldom above its level."""

    exact: float
    mid: float


def sign_flip(differences: Array) -> PairedTest:
    """How likely so large a sum of differences is if the sign of each were a coin's (Fisher's randomization test).

    Of differences -1, 0 and 1 it is McNemar's test; of differences that are all alike, the sign test.

    Args:
        differences: (items,), of each item's mean, in [-1, 1].

    Raises:
        SFTKeyError: No items.
    """
    if len(differences) == 0:
        raise SFTKeyError("no items: there is nothing to test")
    scores: Int64s = np.rint(differences * GRID).astype(np.int64)
    scores = scores[scores != 0]
    if len(scores) == 0:
        return PairedTest(1.0, 1.0)
    scores //= np.gcd.reduce(scores)  # of -1, 0 and 1 the scores are -1 and 1 again: far fewer sums, the same test
    return _normal(scores) if len(scores) > MANY_ITEMS else _exact(scores)


def _normal(scores: "Int64s") -> PairedTest:
    deviation = float(np.sqrt((scores.astype(float) ** 2).sum()))
    z = abs(float(scores.sum())) / deviation
    mid, at = 2 * float(norm.sf(z)), 2 * float(norm.pdf(z)) / deviation  # sums go in steps of 2
    return PairedTest(min(1.0, mid + at), mid)


def _exact(scores: "Int64s") -> PairedTest:
    total = int(np.abs(scores).sum())
    if total > MOST_SUMS:  # coarser scores make as exact a test
        scores = np.rint(scores * (MOST_SUMS / total)).astype(np.int64)
    observed = abs(int(scores.sum()))
    if observed == 0:
        return PairedTest(1.0, 1.0)
    chances = _null(np.abs(scores))
    # A sum of `s` has (total + s) / 2 on its positive side: of the sizes 1, 1, 1 the sum 1 has 2, as 2 - 1 = 1.
    positive = (len(chances) - 1 + observed) // 2
    at, beyond = float(chances[positive]), float(chances[positive + 1 :].sum())
    return PairedTest(min(1.0, 2 * (at + beyond)), min(1.0, at + 2 * beyond))


def _null(sizes: "Int64s") -> Array:
    """Chance of each sum 0, 1, … of the sizes that fall on the positive side, if each does by a coin.

    Added up size by size, of positive terms only, so that the smallest chance is as exact as the largest.
    """
    chances: Array = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        longer: Array = np.zeros(len(chances) + size * count)
        for num, chance in enumerate(binom.pmf(np.arange(count + 1), count, 0.5)):
            if chance > 0:
                longer[num * size : num * size + len(chances)] += chance * chances
        chances = longer
    return chances
