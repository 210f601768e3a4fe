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
    assert found.exact == pytest.approx(mcnemar_exact(lost, gained), abs=1e-12)
    assert found.mid == pytest.approx(mcnemar_midp(lost, gained), abs=1e-12)


def test_of_means_of_samples_it_counts_every_way_to_give_them_signs() -> None:
    values = np.array([0.5, 0.5, -0.25, 1.0, 0.0, 1 / 3, -0.75, 0.125])
    sums = [abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=len(values))]
    found = sign_flip(values)
    at = np.mean(np.isclose(sums, abs(values.sum())))
    assert found.exact == pytest.approx(np.mean(np.array(sums) > abs(values.sum()) - 1e-9))
    assert found.mid == pytest.approx(found.exact - at / 2)


def test_many_uneven_differences_are_tested_as_the_normal_distribution_has_it() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 100, size=3_000)
    values = (rng.binomial(sizes, 0.52) - rng.binomial(sizes, 0.51)) / sizes
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    assert sign_flip(values).mid == pytest.approx(2 * norm.sf(z), abs=1e-3)


def test_of_differences_that_are_all_alike_it_is_the_sign_test() -> None:
    found = sign_flip(np.full(60, 0.5))
    assert (found.exact, found.mid) == pytest.approx((2.0**-59, 2.0**-60), rel=1e-9)


def test_no_items_are_refused() -> None:
    with pytest.raises(SFTKeyError, match="nothing to test"):
        sign_flip(np.array([]))
