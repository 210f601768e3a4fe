"""What the intervals and tests promise, shown by simulation with fixed seeds; limits allow for Monte Carlo error."""

from functools import cache

import numpy as np
import pytest

from sftkey_eval.statistics.proportions import mcnemar_exact, mcnemar_midp, newcombe_paired, noninferiority, wilson
from sftkey_eval.statistics.resampling import bootstrap, items_by_seeds, mean_of_items

ROUNDS = [pytest.param(600, id="600"), pytest.param(4_000, id="4000", marks=pytest.mark.slow)]
wilson_of, newcombe_of = cache(wilson), cache(newcombe_paired)


def slack(rounds: int, share: float) -> float:
    """Three and a half standard errors of a simulated share."""
    return float(3.5 * np.sqrt(share * (1 - share) / rounds))


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
        mean = mean_of_items(counts / 8)
        assert mean.low is not None
        assert mean.high is not None
        clustered += mean.low <= 0.6 <= mean.high
        interval = wilson_of(int(counts.sum()), 800)
        naive += interval.low <= 0.6 <= interval.high
    assert abs(clustered / rounds - 0.95) < 0.015 + slack(rounds, 0.95)
    assert naive / rounds < 0.75


@pytest.mark.parametrize("rounds", [pytest.param(200), pytest.param(2_000, marks=pytest.mark.slow)])
def test_the_bootstrap_covers_the_ratio_of_two_paired_rates(rounds: int) -> None:
    cells = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    covered = 0
    for counts in tables(rounds, 300, [0.5, 0.1, 0.15, 0.25], seed=6):
        values = np.repeat(cells, counts, axis=0)
        (interval,) = bootstrap(values, lambda means: means[:, 1:] / means[:, :1], resamples=500)
        covered += interval.low <= 0.65 / 0.6 <= interval.high
    assert abs(covered / rounds - 0.95) < 0.02 + slack(rounds, 0.95)


@pytest.mark.parametrize("rounds", [pytest.param(120), pytest.param(600, marks=pytest.mark.slow)])
def test_the_bootstrap_over_items_and_seeds_covers_where_seeds_differ(rounds: int) -> None:
    rng = np.random.default_rng(7)
    covered, only_items = 0, 0
    for _ in range(rounds):
        item = rng.normal(0, 0.1, size=(1, 100))
        first, second = (0.5 + item + rng.normal(0, 0.05, size=(8, 1)) + rng.normal(0, 0.1, (8, 100)) for _ in "ab")
        found = items_by_seeds(first.T, second.T, resamples=200)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.0 <= found.high
        narrow = mean_of_items((second - first).mean(axis=0))
        only_items += narrow.low is not None and narrow.high is not None and narrow.low <= 0.0 <= narrow.high
    assert 0.95 - 0.05 - slack(rounds, 0.95) < covered / rounds
    assert only_items / rounds < 0.7
