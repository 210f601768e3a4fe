"""Intervals and tests for proportions, on one run and on two runs of the same items.

In a paired table `both` counts items right in both runs, `lost` those right in the first only, `gained` those right in
the second only, `neither` the rest. A difference is second less first: `(gained - lost) / n`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm

from sftkey_data.errors import SFTKeyError

CONFIDENCE = 0.95
POWER = 0.8
QUANTILE = float(norm.isf((1 - CONFIDENCE) / 2))  # 1.96: half of the 5 % on either side
ON_MARGIN = 1e-12  # a difference so near to the margin lies on it
MAX_Z = 40.0  # beyond it a normal tail is 0.0 in double precision


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval."""

    low: float
    high: float


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson score interval of the proportion `k / n`, without continuity correction.

    Raises:
        SFTKeyError: `n` is 0, or `k` is not in [0, n].
    """
    _check(k, n - k)
    found = binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def wilson_limits(k: float, n: float, z: float) -> tuple[float, float]:
    """The ends of `wilson` for a quantile of the normal distribution; the counts need not be whole."""
    centre, denominator = k / n + z**2 / (2 * n), 1 + z**2 / n
    half = z * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    return max(0.0, (centre - half) / denominator), min(1.0, (centre + half) / denominator)


def newcombe_paired(both: int, lost: int, gained: int, neither: int, confidence: float = CONFIDENCE) -> Interval:
    """Newcombe's interval (method 10) of a difference between two proportions on the same items.

    Square-and-add of the two Wilson intervals, with the continuity-corrected correlation of the pairs.
    Source: Newcombe, Statistics in Medicine 17 (1998) 2635-2650.

    Raises:
        SFTKeyError: No items, or a negative count.
    """
    _check(both, lost, gained, neither)
    return _newcombe(both, lost, gained, neither, float(norm.isf((1 - confidence) / 2)))


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided p of McNemar's exact conditional test; 1.0 without discordant pairs."""
    _check(lost, gained, empty_is_fine=True)
    discordant = lost + gained
    return float(binomtest(lost, discordant, 0.5).pvalue) if discordant else 1.0


def mcnemar_midp(lost: int, gained: int) -> float:
    """Two-sided mid-p of McNemar's test: the exact p less the probability of the table itself.

    Less conservative than the exact test and rarely above its level. Source: Fagerland, Lydersen and Laake, BMC Medical
    Research Methodology 13 (2013) 91.
    """
    _check(lost, gained, empty_is_fine=True)
    discordant, smaller = lost + gained, min(lost, gained)
    if discordant == 0:
        return 1.0
    p = 2 * binom.cdf(smaller, discordant, 0.5) - binom.pmf(smaller, discordant, 0.5)
    return min(1.0, float(p))


def noninferiority(both: int, lost: int, gained: int, neither: int, *, margin: float) -> float:
    """One-sided p of "the second run is worse by `margin` or more"; under 0.05 the second is non-inferior.

    It is the level at which the lower Newcombe bound of the difference reaches `-margin`, so p < 0.05 exactly where the
    90 % interval lies above `-margin`.

    Raises:
        SFTKeyError: No items, a negative count, or a margin outside (0, 1).
    """
    _check(both, lost, gained, neither)
    difference = (gained - lost) / (both + lost + gained + neither)
    return p_worse(difference, lambda z: _newcombe(both, lost, gained, neither, z), margin=margin)


def p_worse(difference: float, limits: Callable[[float], Interval], *, margin: float) -> float:
    """One-sided p of "the difference is -margin or less": the level at which the lower limit reaches `-margin`.

    Args:
        difference: Second less first.
        limits: Its interval for a quantile of the normal distribution; without width at 0.
        margin: In (0, 1).

    Raises:
        SFTKeyError: A margin outside (0, 1).
    """
    if not 0 < margin < 1:
        raise SFTKeyError(f"the margin must lie in (0, 1), found {margin}")
    gap = difference + margin
    if abs(gap) < ON_MARGIN:  # rounding decides on which side it falls, and the search below would find no bound
        return 0.5
    worse = gap < 0

    def excess(z: float) -> float:
        bounds = limits(z)
        return (bounds.high if worse else bounds.low) + margin

    if excess(0.0) * excess(MAX_Z) > 0:  # the bound never gets there: the p is 0, or 1, to double precision
        return 1.0 if worse else 0.0
    z = float(brentq(excess, 0.0, MAX_Z))
    return float(norm.cdf(z) if worse else norm.sf(z))


def minimal_detectable_effect(n: int, discordant: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The smallest difference that a two-sided McNemar test finds with the given power.

    Connor's sample-size formula (Biometrics 43 (1987) 207-211) solved for the difference, given the share of discordant
    pairs. No difference can be larger than that share; where too few pairs are discordant, it is raised to the result.

    Args:
        n: Items.
        discordant: Items on which the two runs differ.
        alpha: Two-sided level.
        power: Probability of finding the difference.

    Returns:
        A difference of proportions in (0, 1]; 1.0 where `n` is too small to find any.
    """
    _check(discordant, n - discordant)
    z_alpha, z_power = float(norm.isf(alpha / 2)), float(norm.ppf(power))

    def excess(difference: float) -> float:
        share = max(discordant / n, difference)
        noise = z_alpha * math.sqrt(share) + z_power * math.sqrt(share - difference**2)
        return math.sqrt(n) * difference - noise

    # Not from 0: without discordant pairs the excess is 0 there, and that would be found as the root.
    return float(brentq(excess, 1e-12, 1.0)) if excess(1.0) > 0 else 1.0


def detectable_by_interval(interval: Interval, *, power: float = POWER) -> float:
    """The smallest difference that is found with the given power where the difference found has this 95 % interval.

    Half of the width is 1.96 standard errors; with 80 % power 1.96 + 0.84 of them are needed.
    """
    return min(1.0, (interval.high - interval.low) / 2 * (1 + float(norm.ppf(power)) / QUANTILE))


def _newcombe(both: int, lost: int, gained: int, neither: int, z: float) -> Interval:
    n = both + lost + gained + neither
    first, second = (both + lost) / n, (both + gained) / n
    low_first, high_first = wilson_limits(both + lost, n, z)
    low_second, high_second = wilson_limits(both + gained, n, z)
    correlation = _correlation(both, lost, gained, neither)

    def spread(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    difference = second - first
    return Interval(
        max(-1.0, difference - spread(second - low_second, high_first - first)),
        min(1.0, difference + spread(high_second - second, first - low_first)),
    )


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    n = both + lost + gained + neither
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if margins == 0:
        return 0.0
    cross = both * neither - lost * gained
    return (max(cross - n / 2, 0.0) if cross > 0 else cross) / math.sqrt(margins)


def _check(*counts: int, empty_is_fine: bool = False) -> None:
    if min(counts) < 0:
        raise SFTKeyError(f"counts must not be negative, found {', '.join(map(str, counts))}")
    if sum(counts) == 0 and not empty_is_fine:
        raise SFTKeyError("no items: there is no proportion of nothing")
