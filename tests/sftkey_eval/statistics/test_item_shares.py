"""Shares over items, their mixtures and differences: what one sample per item has, and what no spread leaves."""

import numpy as np
import pytest
from scipy.stats import t as scipy_t

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.arm_seeds import arm_difference, arm_share
from sftkey_eval.statistics.item_means import Array, mean_of_items
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, item_share, mixture
from sftkey_eval.statistics.proportions import QUANTILE, Interval, newcombe_paired, wilson


def of_counts(*counts: tuple[int, float]) -> MeasuredShare:
    """One sample per item: so many items with a value each."""
    values = np.repeat([value for _, value in counts], [count for count, _ in counts]).astype(float)
    return item_share(values, np.ones(len(values)))


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@pytest.mark.parametrize(("k", "n"), [(81, 263), (0, 20), (29, 29), (1, 1)])
def test_one_sample_per_item_has_wilsons_interval(k: int, n: int) -> None:
    found = of_counts((k, 1), (n - k, 0))
    assert ends(found.limits(QUANTILE)) == pytest.approx(ends(wilson(k, n)))


@pytest.mark.parametrize("table", [(36, 12, 2, 10), (48, 0, 0, 12), (0, 0, 60, 0), (1, 1, 7, 12), (20, 0, 0, 0)])
def test_one_sample_per_item_has_newcombes_interval(table: tuple[int, int, int, int]) -> None:
    both, lost, gained, neither = table
    first = of_counts((both + lost, 1), (gained + neither, 0))
    second = of_counts((both, 1), (lost, 0), (gained, 1), (neither, 0))
    assert ends(difference(first, second)(QUANTILE)) == pytest.approx(ends(newcombe_paired(*table)))


@pytest.mark.parametrize(("right", "samples"), [(0, 2), (2, 2), (1, 2), (3, 8)])
def test_items_without_spread_are_worth_one_each_however_many_samples_they_have(right: int, samples: int) -> None:
    found = item_share(np.full(60, float(right)), np.full(60, float(samples)), most=60 * samples)
    expected = wilson(60 * right // samples, 60)
    assert found.value == right / samples
    assert found.limits(QUANTILE).high - found.limits(QUANTILE).low == pytest.approx(
        expected.high - expected.low, abs=0.02
    )


def test_spread_between_items_narrows_the_interval_as_the_design_effect_says_and_not_below_the_samples() -> None:
    sizes = np.full(400, 8.0)
    alike = np.random.default_rng(0).binomial(8, 0.5, size=400).astype(float)
    same = np.repeat([0.0, 8.0], 200)
    widths = []
    for right in (alike, same):
        interval = item_share(right, sizes, most=3_200).limits(QUANTILE)
        widths.append(interval.high - interval.low)
    assert widths[1] == pytest.approx(wilson(200, 400).high - wilson(200, 400).low)
    assert widths[0] == pytest.approx(widths[1] / 8**0.5, rel=0.1)
    barely = np.full(60, 1.0)
    barely[0] = 0.0
    assert ends(item_share(barely, np.full(60, 2.0), most=120).limits(QUANTILE)) == pytest.approx(
        ends(wilson(59, 120)), abs=1e-6
    )


def test_a_ratio_leaves_out_the_items_without_a_whole() -> None:
    found = item_share(np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert (found.value, found.num_items) == (pytest.approx(2 / 3), 3)
    assert ends(found.limits(QUANTILE)) == pytest.approx(ends(wilson(2, 3)))
    with pytest.raises(SFTKeyError, match="no share of nothing"):
        item_share(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("correct", [0, 30, 60])
@pytest.mark.parametrize("valid", [0, 45, 60])
def test_a_mixture_has_its_parts_at_the_ends_and_a_width_everywhere(correct: int, valid: int) -> None:
    one, other = of_counts((correct, 1), (60 - correct, 0)), of_counts((valid, 1), (60 - valid, 0))
    assert ends(mixture(1.0, one, other).limits(QUANTILE)) == pytest.approx(ends(one.limits(QUANTILE)))
    assert ends(mixture(0.0, one, other).limits(QUANTILE)) == pytest.approx(ends(other.limits(QUANTILE)))
    for weight in (0.3, 0.5, 0.7):
        mixed = mixture(weight, one, other)
        low, high = ends(mixed.limits(QUANTILE))
        assert low <= mixed.value <= high
        assert high - low > 0.04
        low, high = ends(difference(mixed, mixed)(QUANTILE))  # two runs that agree on every item
        assert low < -0.005
        assert high > 0.005


def test_a_mean_without_bounds_has_no_interval_where_nothing_is_known_of_the_spread() -> None:
    mean = mean_of_items(np.array([0.0, 1.0, 0.5]))
    expected = scipy_t.interval(0.95, 2, loc=0.5, scale=np.std([0.0, 1.0, 0.5], ddof=1) / np.sqrt(3))
    assert (mean.low, mean.high) == pytest.approx(expected)
    assert mean_of_items(np.array([0.0, 1.0, 0.5]), bounds=(0.0, np.inf)).low == 0.0
    for values in ([0.5], [0.5, 0.5, 0.5]):
        alone = mean_of_items(np.array(values))
        assert (alone.value, alone.low, alone.high) == (0.5, None, None)
    with pytest.raises(SFTKeyError, match="no items"):
        mean_of_items(np.array([]))


def _arms(*shares: float, items: int = 50) -> Array:
    """(items, seeds): each seed has its share of the items, the same items first."""
    return np.array([[float(i < item_share * items) for item_share in shares] for i in range(items)])


def test_arms_without_any_spread_have_the_interval_of_their_items() -> None:
    none, every = _arms(0, 0, 0), _arms(1, 1)
    found = arm_difference(none, every)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, newcombe_paired(0, 0, 50, 0).low, 1.0))
    assert found.detectable is not None
    assert 0 < found.detectable < 0.2
    alone = arm_share(every)
    assert (alone.low, alone.high) == pytest.approx(ends(wilson(50, 50)))


def test_seeds_that_differ_widen_an_arm_by_welchs_interval() -> None:
    first, second = _arms(0.4, 0.5, 0.6), _arms(0.6, 0.7, 0.8)
    found = arm_difference(first, second)
    error = float(np.hypot(0.1, 0.1) / 3**0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.value > scipy_t.isf(0.025, 4) * error
    same = arm_difference(_arms(0.5, 0.5, 0.5), _arms(0.7, 0.7, 0.7))
    assert same.low is not None
    assert same.low > 0 > found.low


def test_an_arm_of_one_seed_has_no_interval() -> None:
    found = arm_difference(_arms(0.4), _arms(0.6, 0.7))
    assert (found.value, found.low, found.high, found.detectable) == (pytest.approx(0.25), None, None, None)
    assert arm_share(_arms(0.4)).low is None


def test_arms_of_other_or_no_items_are_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"same items under each seed, found \(3, 2\) and \(4, 2\)"):
        arm_difference(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(SFTKeyError, match="expected items and seeds"):
        arm_share(np.ones((0, 2)))
