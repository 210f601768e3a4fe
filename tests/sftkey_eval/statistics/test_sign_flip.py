"""The exact test of paired differences by item."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.proportions import mcnemar_exact, mcnemar_midp
from sftkey_eval.statistics.sign_flip import sign_flip


@pytest.mark.parametrize(("lost", "gained"), [(1, 7), (0, 10), (5, 5), (0, 0), (3, 30), (200, 260), (0, 1)])
def test_of_right_and_wrong_it_is_mcnemars_test(lost: int, gained: int) -> None:
    found = sign_flip(np.repeat([-1.0, 1.0, 0.0], [lost, gained, 20]))
    assert found.exact == pytest.approx(mcnemar_exact(lost, gained), rel=1e-9, abs=0)
    assert found.mid == pytest.approx(mcnemar_midp(lost, gained), rel=1e-9, abs=0)


def test_of_means_of_samples_it_counts_every_way_to_give_them_signs() -> None:
    values = np.array([0.5, 0.5, -0.25, 1.0, 0.0, 1 / 3, -0.75, 0.125])
    sums = [abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=len(values))]
    found = sign_flip(values)
    at = np.mean(np.isclose(sums, abs(values.sum())))
    assert found.exact == pytest.approx(np.mean(np.array(sums) > abs(values.sum()) - 1e-9))
    assert found.mid == pytest.approx(found.exact - at / 2)


@pytest.mark.parametrize("num_items", [1_500, 200_000])
@pytest.mark.parametrize("most", [2, 99], ids=["two samples", "up to 99 samples"])
def test_many_differences_are_tested_as_the_normal_distribution_has_it(num_items: int, most: int) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(min(most, 5), most, size=num_items, endpoint=True)
    better = 0.5 + 0.7 / num_items**0.5  # about one and a half standard errors for two samples
    values = (rng.binomial(sizes, better) - rng.binomial(sizes, 0.5)) / sizes
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    found = sign_flip(values)
    assert found.mid == pytest.approx(2 * norm.sf(z), abs=1e-3)
    assert found.mid < found.exact < found.mid + 0.02


@pytest.mark.parametrize(("lost", "gained"), [(1_000, 1_100), (1_480, 1_600), (3_000, 3_000), (2_500, 2_530)])
def test_of_many_it_still_is_mcnemars_test(lost: int, gained: int) -> None:
    found = sign_flip(np.repeat([-1.0, 1.0], [lost, gained]))
    assert found.exact == pytest.approx(mcnemar_exact(lost, gained), abs=2e-4)
    assert found.mid == pytest.approx(mcnemar_midp(lost, gained), abs=2e-4)


def test_of_differences_that_are_all_alike_it_is_the_sign_test() -> None:
    found = sign_flip(np.full(60, 0.5))
    assert (found.exact, found.mid) == pytest.approx((2.0**-59, 2.0**-60), rel=1e-9, abs=0)


def test_no_items_are_refused() -> None:
    with pytest.raises(SFTKeyError, match="nothing to test"):
        sign_flip(np.array([]))
