"""What the intervals and tests promise, shown by simulation with fixed seeds; limits allow for Monte Carlo error."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.special import expit

from sftkey_eval.statistics.arm_seeds import arm_difference
from sftkey_eval.statistics.item_means import Array, mean_of_items
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, item_share, mixture
from sftkey_eval.statistics.proportions import (
    QUANTILE,
    mcnemar_exact,
    mcnemar_midp,
    newcombe_paired,
    noninferiority,
    wilson,
)
from sftkey_eval.statistics.sign_flip import sign_flip

ROUNDS = [pytest.param(600, id="600"), pytest.param(4_000, id="4000", marks=pytest.mark.slow)]
wilson_of, newcombe_of = cache(wilson), cache(newcombe_paired)


def slack(rounds: int, item_share: float) -> float:
    """Three and a half standard errors of a simulated share."""
    return float(3.5 * np.sqrt(item_share * (1 - item_share) / rounds))


def tables(rounds: int, n: int, shares: list[float], seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).multinomial(n, shares, size=rounds).tolist()


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(("n", "p"), [(50, 0.9), (200, 0.5), (500, 0.97)])
def test_wilson_covers_the_rate_in_95_of_100(rounds: int, n: int, p: float) -> None:
    drawn = np.random.default_rng(1).binomial(n, p, size=rounds)
    covered = np.mean([wilson_of(int(k), n).low <= p <= wilson_of(int(k), n).high for k in drawn])
    assert abs(covered - 0.95) < 0.015 + slack(rounds, 0.95)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("shares", [[0.5, 0.05, 0.15, 0.3], [0.9, 0.04, 0.04, 0.02]])
def test_the_paired_interval_covers_the_difference_in_95_of_100(rounds: int, shares: list[float]) -> None:
    true = shares[2] - shares[1]
    found = [newcombe_of(*cells) for cells in tables(rounds, 200, shares, seed=2)]
    covered = np.mean([interval.low <= true <= interval.high for interval in found])
    assert abs(covered - 0.95) < 0.02 + slack(rounds, 0.95)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("discordant", [0.05, 0.3])
def test_mcnemar_cries_wolf_in_no_more_than_5_of_100(rounds: int, discordant: float) -> None:
    drawn = tables(rounds, 200, [discordant / 2, discordant / 2, 1 - discordant], seed=3)
    exact = np.mean([mcnemar_exact(lost, gained) < 0.05 for lost, gained, _ in drawn])
    mid = np.mean([mcnemar_midp(lost, gained) < 0.05 for lost, gained, _ in drawn])
    assert exact <= mid
    assert exact < 0.05 + slack(rounds, 0.05)
    assert 0.02 - slack(rounds, 0.02) < mid < 0.055 + slack(rounds, 0.05)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_format_exactly_one_margin_worse_passes_in_no_more_than_5_of_100(rounds: int) -> None:
    drawn = tables(rounds, 1_000, [0.94, 0.025, 0.015, 0.02], seed=4)
    passed = np.mean([noninferiority(*cells, margin=0.01) < 0.05 for cells in drawn])
    assert 0.02 < passed < 0.055 + slack(rounds, 0.05)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_the_clustered_interval_covers_with_several_samples_per_item_and_the_naive_one_does_not(rounds: int) -> None:
    rng = np.random.default_rng(5)
    solved = rng.beta(0.6, 0.4, size=(rounds, 100))
    right = rng.binomial(8, solved)
    clustered, naive = 0, 0
    for counts in right:
        interval = share_of_samples(counts.astype(float), 8).limits(QUANTILE)
        clustered += interval.low <= 0.6 <= interval.high
        interval = wilson_of(int(counts.sum()), 800)
        naive += interval.low <= 0.6 <= interval.high
    assert abs(clustered / rounds - 0.95) < 0.015 + slack(rounds, 0.95)
    assert naive / rounds < 0.75


def share_of_samples(right: Array, samples: int) -> MeasuredShare:
    return item_share(right, np.full(len(right), float(samples)), most=samples * len(right))


Drawn = Callable[[np.random.Generator, int], Array]
# How often an item is solved, the mean of that, and the least that is covered: Wilson itself dips for shares near 0.
POPULATIONS: dict[str, tuple[Drawn, float, float]] = {
    "between": (lambda rng, n: rng.beta(0.6, 0.4, n), 0.6, 0.93),
    "all or nothing": (lambda rng, n: (rng.random(n) < 0.8).astype(float), 0.8, 0.93),
    "seldom anything": (lambda rng, n: 0.5 * (rng.random(n) < 0.05), 0.025, 0.90),
    "nearly always": (lambda rng, n: np.where(rng.random(n) < 0.1, 0.7, 1.0), 0.97, 0.93),
}


def percentiles(right: Array, samples: int, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap over the items, which reports had before."""
    drawn = right[rng.integers(len(right), size=(400, len(right)))].mean(axis=1) / samples
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("rounds", [pytest.param(250), pytest.param(4_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("samples", [2, 8])
@pytest.mark.parametrize("name", POPULATIONS)
def test_a_few_items_with_several_samples_are_covered_where_the_bootstrap_over_them_was_not(
    rounds: int, samples: int, name: str
) -> None:
    draw, true, least = POPULATIONS[name]
    rng = np.random.default_rng(8)
    worst = 1.0
    for num_items in (7, 12, 30):
        covered, before = 0, 0
        for round_ in range(rounds):
            right = rng.binomial(samples, draw(rng, num_items)).astype(float)
            interval = share_of_samples(right, samples).limits(QUANTILE)
            covered += interval.low <= true <= interval.high
            if round_ < 250:
                low, high = percentiles(right, samples, rng)
                before += low <= true <= high
        assert covered / rounds > least - slack(rounds, least), num_items
        worst = min(worst, before / min(rounds, 250))
    assert worst < 0.91


@pytest.mark.parametrize("rounds", [pytest.param(250), pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_items", [7, 12, 60])
@pytest.mark.parametrize("better", [0.0, 0.3])
def test_the_difference_of_item_means_is_covered_and_its_test_cries_wolf_in_no_more_than_5_of_100(
    rounds: int, num_items: int, better: float
) -> None:
    rng = np.random.default_rng(9)
    covered, found = 0, 0
    for _ in range(rounds):
        solved = rng.beta(0.6, 0.4, num_items)
        before, now = (rng.binomial(4, p).astype(float) for p in (solved, solved + better * (1 - solved)))
        interval = difference(share_of_samples(before, 4), share_of_samples(now, 4))(QUANTILE)
        covered += interval.low <= 0.4 * better <= interval.high
        found += sign_flip((now - before) / 4).mid < 0.05
    assert covered / rounds > 0.95 - 0.015 - slack(rounds, 0.95)
    if better == 0:
        assert found / rounds < 0.05 + slack(rounds, 0.05)


@pytest.mark.parametrize("rounds", [pytest.param(250), pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_items", [7, 30, 300])
def test_ratios_and_mixtures_of_paired_runs_are_covered(rounds: int, num_items: int) -> None:
    rng = np.random.default_rng(6)
    ratio, mixed = 0, 0
    for _ in range(rounds):
        easy = rng.beta(2, 1, num_items)
        runs = []
        for valid_rate, lift in ((0.7, 0.0), (0.9, 0.2)):
            valid = (rng.random(num_items) < valid_rate).astype(float)
            correct = valid * (rng.random(num_items) < easy + lift * (1 - easy))
            runs.append((correct, valid))
        every = np.ones(num_items)
        if all(valid.any() for _, valid in runs):
            interval = difference(*(item_share(correct, valid) for correct, valid in runs))(QUANTILE)
            ratio += interval.low <= 0.2 / 3 <= interval.high
        else:
            ratio += 1  # no interval is given
        interval = difference(*(mixture(0.7, *(item_share(part, every) for part in run)) for run in runs))(QUANTILE)
        true = 0.7 * (0.9 * (2 / 3 + 0.2 / 3) - 0.7 * 2 / 3) + 0.3 * 0.2
        mixed += interval.low <= true <= interval.high
    assert ratio / rounds > 0.95 - 0.015 - slack(rounds, 0.95)
    assert mixed / rounds > 0.95 - 0.015 - slack(rounds, 0.95)


@pytest.mark.parametrize("rounds", [pytest.param(150), pytest.param(1_500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["seeds alike", "seeds differ"])
def test_arms_of_a_few_seeds_are_covered(rounds: int, seeds: int, spread: float) -> None:
    rng = np.random.default_rng(7)
    covered = only_items = 0
    for _ in range(rounds):
        item = rng.normal(0, 2, size=(100, 1))
        first, second = (
            (rng.random((100, seeds)) < expit(item + rng.normal(0, spread, size=(1, seeds)))).astype(float)
            for _ in "ab"
        )
        found = arm_difference(first, second)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.0 <= found.high
        narrow = mean_of_items((second - first).mean(axis=1))
        only_items += narrow.low is not None and narrow.high is not None and narrow.low <= 0.0 <= narrow.high
    assert covered / rounds > 0.95 - 0.01 - slack(rounds, 0.95)
    if spread:
        assert only_items / rounds < 0.7
