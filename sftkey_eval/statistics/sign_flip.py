"""An exact test of paired differences by item: if two runs are equally good on an item, its sign is a coin's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.item_means import Array

if TYPE_CHECKING:
    from sftkey_data.arrays import Int64s

GRID = 20_160
"""Differences are counted in parts of this: whole for means of 1 to 10, 12, 14, 15, 16, 20, 32 or 64 samples."""
MOST_SUMS = 2**18


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
    scores = _scores(differences)
    observed = abs(int(scores.sum()))
    if observed == 0:
        return PairedTest(1.0, 1.0)
    chances = _null(np.abs(scores))
    least = 2.0 ** (1 - len(scores))  # what the inverse transform cannot tell from 0
    at, beyond = float(chances[observed]), float(chances[observed + 1 :].sum())
    exact = max(least, 2 * (at + beyond))
    return PairedTest(min(1.0, exact), min(1.0, max(exact - at, exact / 2)))


def _scores(differences: Array) -> "Int64s":
    """Whole numbers in proportion to the differences that are not 0; coarser where their sum would be too large."""
    scores: Int64s = np.rint(differences * GRID).astype(np.int64)
    scores = scores[scores != 0]
    if len(scores) == 0:
        return scores
    scores //= np.gcd.reduce(scores)
    total = int(np.abs(scores).sum())
    if total > MOST_SUMS:
        scores = np.rint(scores * (MOST_SUMS / 2 / total)).astype(np.int64)
    return scores


def _null(sizes: "Int64s") -> Array:
    """Chance of each sum 0, 1, …, of all sizes: by the characteristic function, a product of cosines."""
    num_sums = 2 * int(sizes.sum()) + 1
    angles = 2 * np.pi * np.arange(num_sums) / num_sums
    product = np.ones(num_sums)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        product *= np.cos(size * angles) ** count
    chances: Array = np.fft.ifft(product).real[: num_sums // 2 + 1]
    return np.clip(chances, 0.0, None)
