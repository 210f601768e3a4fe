"""The exposure gap over hand-made lines: what is averaged, in which direction, and with which interval."""

import pytest
from scipy.stats import ttest_1samp

from sftkey_eval.exposure.exposure_gap import KeyLine, summarize_exposure
from sftkey_eval.statistics.proportions import newcombe_paired, wilson


def line(item: int, gold: tuple[float, bool], own: tuple[float, bool] | None, sample: int = 0) -> KeyLine:
    """A Key of 2 tokens given the gold CoT and of 4 given the model's own."""
    return KeyLine(
        id=f"{item}#{sample}",
        item_id=str(item),
        sample=sample,
        key_tokens=2,
        nll_gold_cot=gold[0],
        exact_gold_cot=gold[1],
        gold_cot_fault=None,
        own_key_tokens=None if own is None else 4,
        nll_own_cot=None if own is None else own[0],
        exact_own_cot=None if own is None else own[1],
        own_cot_fault="missing_cot" if own is None else None,
    )


def test_the_gap_is_own_less_gold_over_the_items_that_have_both() -> None:
    golds, owns = [1.0, 2.0, 0.5, 3.0], [4.0, 2.5, 1.5, 3.5]
    pairs = [line(i, (g, True), (o, i == 0)) for i, (g, o) in enumerate(zip(golds, owns, strict=True))]
    found = summarize_exposure([*pairs, line(9, (8.0, False), None)])
    gaps = [o - g for g, o in zip(golds, owns, strict=True)]
    expected = ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert found.difference.nll is not None
    assert found.difference.nll.value == pytest.approx(sum(gaps) / 4)
    assert (found.difference.nll.low, found.difference.nll.high) == pytest.approx((expected.low, expected.high))
    assert found.both_gold_cot.nll is not None
    assert found.gold_cot.nll is not None
    assert found.both_gold_cot.nll.value == pytest.approx(sum(golds) / 4)
    assert found.gold_cot.nll.value == pytest.approx((sum(golds) + 8) / 5)
    assert found.left_out_own_cot == {"missing_cot": 1}


def test_nll_per_token_divides_by_the_tokens_of_its_own_text() -> None:
    found = summarize_exposure([line(0, (1.0, True), (6.0, True)), line(1, (3.0, True), (2.0, True))])
    assert found.gold_cot.nll_per_token is not None
    assert found.own_cot.nll_per_token is not None
    assert found.gold_cot.nll_per_token.value == pytest.approx((0.5 + 1.5) / 2)
    assert found.own_cot.nll_per_token.value == pytest.approx((1.5 + 0.5) / 2)


def test_exact_match_of_one_sample_each_has_the_intervals_of_proportions() -> None:
    matches = [(True, True)] * 5 + [(True, False)] * 4 + [(False, True)] + [(False, False)] * 2
    found = summarize_exposure([line(i, (1.0, g), (1.0, o)) for i, (g, o) in enumerate(matches)])
    assert found.gold_cot.exact is not None
    assert found.difference.exact is not None
    alone, paired = wilson(9, 12), newcombe_paired(5, 4, 1, 2)
    assert (found.gold_cot.exact.low, found.gold_cot.exact.high) == pytest.approx((alone.low, alone.high))
    assert (found.difference.exact.low, found.difference.exact.high) == pytest.approx((paired.low, paired.high))
    assert found.difference.exact.value == pytest.approx(-3 / 12)


def test_an_item_counts_once_however_many_samples_it_has() -> None:
    many = [line(0, (1.0, True), (float(n), n == 1), sample=n) for n in range(4)]
    found = summarize_exposure([*many, line(1, (1.0, True), (5.5, False))])
    assert found.own_cot.nll is not None
    assert found.own_cot.exact is not None
    assert (found.own_cot.nll.value, found.own_cot.exact.value) == pytest.approx(((1.5 + 5.5) / 2, (0.25 + 0) / 2))
    assert (found.num_items, found.num_rows) == (2, 5)
