"""Arms whose seeds belong together, ratios over seeds, and shares of which only the value under each seed is known."""

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import ttest_rel

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.arm_seeds import (
    arm_difference,
    arm_ratio,
    arm_share,
    counted_share,
    paired_arm_difference,
)
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.item_shares import difference, item_share
from sftkey_eval.statistics.proportions import QUANTILE


def drawn(rng: np.random.Generator, shift: float, seeds: Array, spread: float) -> Array:
    """(items, seeds): items of other difficulty, `seeds` shifts both arms of a study, `spread` each arm by itself."""
    own = rng.normal(0, spread, size=seeds.shape)
    item = np.linspace(-3, 3, 200)[:, np.newaxis]
    return (rng.random((200, seeds.shape[1])) < expit(item + seeds + own + shift)).astype(float)


def test_the_interval_of_paired_arms_is_that_of_the_items_and_students_over_the_seeds_squared_and_added() -> None:
    rng = np.random.default_rng(1)
    seeds = rng.normal(0, 1, size=(1, 5))
    first, second = drawn(rng, 0.0, seeds, 0.3), drawn(rng, 0.8, seeds, 0.3)
    found = paired_arm_difference(first, second)
    assert found.value == pytest.approx(second.mean() - first.mean())
    before, now = (item_share(arm.sum(axis=1), np.full(200, 5.0), most=1000) for arm in (first, second))
    items = difference(before, now)(QUANTILE)
    over_seeds = ttest_rel(second.mean(axis=0), first.mean(axis=0)).confidence_interval(0.95)
    half = (over_seeds.high - over_seeds.low) / 2
    assert found.low == pytest.approx(found.value - math.hypot(found.value - items.low, half))
    assert found.high == pytest.approx(found.value + math.hypot(items.high - found.value, half))


def test_what_a_seed_does_to_both_arms_is_no_noise() -> None:
    rng = np.random.default_rng(2)
    seeds = rng.normal(0, 2, size=(1, 5))
    first, second = drawn(rng, 0.0, seeds, 0.0), drawn(rng, 1.5, seeds, 0.0)
    paired, apart = paired_arm_difference(first, second), arm_difference(first, second)
    assert paired.value == apart.value
    assert paired.low is not None
    assert apart.low is not None
    assert apart.low < 0 < paired.low


def test_arms_with_the_same_bits_differ_by_nothing_and_the_interval_has_a_width() -> None:
    arm = drawn(np.random.default_rng(3), 0.0, np.zeros((1, 3)), 0.0)
    found = paired_arm_difference(arm, arm)
    assert found.value == 0
    assert found.low is not None
    assert found.high is not None
    assert -0.1 < found.low < 0 < found.high < 0.1


def test_one_seed_has_no_interval_and_other_shapes_are_refused() -> None:
    found = paired_arm_difference(np.zeros((4, 1)), np.ones((4, 1)))
    assert (found.value, found.low, found.detectable) == (1.0, None, None)
    with pytest.raises(SFTKeyError, match=r"the same items and seeds"):
        paired_arm_difference(np.zeros((4, 2)), np.ones((4, 3)))


def test_a_ratio_of_wholes_that_are_all_one_is_the_share() -> None:
    arm = drawn(np.random.default_rng(4), 0.5, np.array([[0.0, 1.0, -1.0]]), 0.0)
    found, share = arm_ratio(arm, np.ones_like(arm)), arm_share(arm)
    assert found is not None
    assert [found.value, found.low, found.high] == pytest.approx([share.value, share.low, share.high])


def test_a_ratio_counts_what_has_a_whole() -> None:
    parts, wholes = np.array([[1, 0], [1, 1], [0, 0]], float), np.array([[1, 0], [1, 1], [1, 0]], float)
    found = arm_ratio(parts, wholes)
    assert found is not None
    assert found.value == 0.75
    assert arm_ratio(np.zeros((3, 2)), np.zeros((3, 2))) is None


def test_a_counted_share_is_at_least_as_wide_as_one_seed_of_wilson() -> None:
    found = counted_share(np.array([0.5, 0.5]), 100)
    assert [found.low, found.high] == pytest.approx([0.4038, 0.5962], abs=1e-4)  # Wilson of 50/100
    wider = counted_share(np.array([0.4, 0.6]), 100)
    assert wider.low == 0.0  # Student's with one degree of freedom
    assert counted_share(np.array([0.5]), 100).low is None


@pytest.mark.parametrize("rounds", [pytest.param(150), pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_seeds", [3, 10])
@pytest.mark.parametrize(("shared", "own"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5)], ids=["alike", "shared", "own too"])
def test_paired_arms_are_covered_and_the_interval_is_not_absurdly_wide(
    rounds: int, num_seeds: int, shared: float, own: float
) -> None:
    rng = np.random.default_rng(5)
    covered, widths, differences = 0, [], []
    for _ in range(rounds):
        seeds = rng.normal(0, shared, size=(1, num_seeds))
        first, second = drawn(rng, 0.0, seeds, own), drawn(rng, 0.0, seeds, own)
        found = paired_arm_difference(first, second)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.0 <= found.high
        widths.append(found.high - found.low)
        differences.append(found.value)
    assert covered / rounds > 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / rounds)
    if num_seeds == 10:  # of one who knew the spread: 2 * 1.96 standard deviations
        assert np.mean(widths) < 1.75 * 2 * QUANTILE * np.std(differences)
