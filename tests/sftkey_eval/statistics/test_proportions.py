"""Published and worked numbers; the papers are named at each case."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from sftkey_data.errors import SFTKeyError
from sftkey_eval.statistics.proportions import (
    mcnemar_exact,
    mcnemar_midp,
    minimal_detectable_effect,
    newcombe_paired,
    noninferiority,
    wilson,
)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_gives_the_intervals_of_newcombe_1998_table_1(k: int, n: int, low: float, high: float) -> None:
    interval = wilson(k, n)
    assert interval.low == pytest.approx(low, abs=6e-5)
    assert interval.high == pytest.approx(high, abs=6e-5)


# Newcombe, Statistics in Medicine 17 (1998) 2635-2650, as (both, first only, second only, neither); first less second.
PAPER = [
    (36, 12, 2, 0, 0.0569, 0.3404),
    (18, 12, 2, 18, 0.0562, 0.3290),
    (53, 0, 0, 1, -0.0729, 0.0729),
    (0, 30, 0, 0, 0.8395, 1.0),
]
# Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875: airway hyper-responsiveness.
AIRWAY = (1, 1, 7, 12, -0.507, -0.026)


@pytest.mark.parametrize(("both", "first", "second", "neither", "low", "high"), [*PAPER, AIRWAY])
def test_the_paired_interval_gives_the_published_numbers(
    both: int, first: int, second: int, neither: int, low: float, high: float
) -> None:
    interval = newcombe_paired(both, lost=second, gained=first, neither=neither)
    assert interval.low == pytest.approx(low, abs=6e-4)
    assert interval.high == pytest.approx(high, abs=6e-4)
    mirrored = newcombe_paired(both, lost=first, gained=second, neither=neither)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))


@pytest.mark.parametrize(
    ("lost", "gained", "exact", "mid"),
    [
        (1, 7, 0.0703, 0.0391),  # Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13 (2013) 91
        (0, 10, 2 / 1024, 1 / 1024),
        (5, 5, 1.0, 1.0),
        (0, 0, 1.0, 1.0),
    ],
)
def test_mcnemar_gives_the_published_p_values(lost: int, gained: int, exact: float, mid: float) -> None:
    assert mcnemar_exact(lost, gained) == pytest.approx(exact, abs=5e-5)
    assert mcnemar_midp(lost, gained) == pytest.approx(mid, abs=5e-5)
    assert mcnemar_midp(gained, lost) == mcnemar_midp(lost, gained)


def test_the_detectable_effect_is_connors_sample_size_solved_for_the_difference() -> None:
    n, discordant = 1_000, 100
    effect = minimal_detectable_effect(n, discordant)
    share = discordant / n
    needed = (norm.isf(0.025) * math.sqrt(share) + norm.ppf(0.8) * math.sqrt(share - effect**2)) ** 2 / effect**2
    assert needed == pytest.approx(n)
    assert effect == pytest.approx(0.0280, abs=5e-5)


def test_an_effect_of_the_detectable_size_is_found_about_four_times_in_five() -> None:
    n, share = 1_000, 0.1
    effect = minimal_detectable_effect(n, int(share * n))
    rng = np.random.default_rng(0)
    cells = rng.multinomial(n, [(share + effect) / 2, (share - effect) / 2, 1 - share], size=2_000)
    found = np.mean([mcnemar_midp(int(lost), int(gained)) < 0.05 for gained, lost, _ in cells])
    assert 0.77 < found < 0.83


def test_the_detectable_effect_is_finite_without_discordant_pairs_and_never_above_one() -> None:
    assert minimal_detectable_effect(1_000, 0) == pytest.approx(0.0078, abs=5e-5)
    assert minimal_detectable_effect(3, 0) == 1.0


@pytest.mark.parametrize(
    "table", [(980, 5, 6, 9), (980, 12, 4, 4), (900, 50, 10, 40), (90, 2, 2, 6), (1000, 0, 0, 0), (0, 0, 100, 0)]
)
def test_noninferiority_holds_exactly_where_the_90_percent_interval_lies_above_the_margin(
    table: tuple[int, int, int, int],
) -> None:
    p = noninferiority(*table, margin=0.01)
    assert (p < 0.05) == (newcombe_paired(*table, confidence=0.9).low > -0.01)
    assert 0.0 <= p <= 1.0


def test_the_p_of_noninferiority_is_the_level_at_which_the_bound_meets_the_margin() -> None:
    table = (980, 12, 4, 4)
    p = noninferiority(*table, margin=0.01)
    assert newcombe_paired(*table, confidence=1 - 2 * p).low == pytest.approx(-0.01, abs=1e-9)
    assert noninferiority(900, 50, 10, 40, margin=0.01) > 0.99


@pytest.mark.parametrize("table", [(939, 26, 16, 19), (952, 21, 11, 16), (900, 20, 10, 70), (99, 1, 0, 0)])
def test_a_difference_of_exactly_the_margin_is_never_non_inferior(table: tuple[int, int, int, int]) -> None:
    assert noninferiority(*table, margin=0.01) == 0.5


def test_the_mean_of_nothing_is_an_error() -> None:
    for compute in (
        lambda: wilson(0, 0),
        lambda: newcombe_paired(0, 0, 0, 0),
        lambda: noninferiority(0, 0, 0, 0, margin=0.01),
        lambda: minimal_detectable_effect(0, 0),
    ):
        with pytest.raises(SFTKeyError, match="no items"):
            compute()
    with pytest.raises(SFTKeyError, match="negative"):
        wilson(3, 2)
