"""What the loss of a step is a mean of, in numbers worked by hand."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from sftkey_train.batches.batch import Batch, Example, collate
from sftkey_train.batches.region_weights import COT, KEY, PROMPT, NoTarget, RegionBorders, weight_by_region
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.normalisation import normalised_weights, weight_sums
from sftkey_train.recipe import Weights

Kind = Literal["token", "example", "region"]
KINDS = pytest.mark.parametrize("kind", ["token", "example", "region"])
# A: prompt, three tokens of CoT, one of the Key. B: prompt, one of CoT, two of the Key. No tags, no EOS.
A = Example("a", torch.arange(5), RegionBorders(1, 4, 4, 5, 5, 5))
B = Example("b", torch.arange(4), RegionBorders(1, 2, 2, 4, 4, 4))
LOSSES = {"a": [1.0, 1.0, 1.0, 4.0], "b": [2.0, 0.0, 1.0]}
WEIGHTS = Weights(cot=1, key=3)


def _factors(batches: list[Batch], weights: Weights, kind: Kind) -> list[Tensor]:
    by_region = weight_by_region(weights)
    sums = weight_sums(batches, by_region)
    return [normalised_weights(batch, by_region, sums, kind) for batch in batches]


def _loss(batches: list[Batch], weights: Weights, kind: Kind) -> float:
    costs = [torch.tensor([loss for id_ in batch.ids for loss in LOSSES[id_]]) for batch in batches]
    return float(sum((f * c).sum() for f, c in zip(_factors(batches, weights, kind), costs, strict=True)))


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("token", 20 / 13),  # (1 + 1 + 1 + 3*4 + 2 + 3*0 + 3*1) / (1 + 1 + 1 + 3 + 1 + 3 + 3)
        ("example", 45 / 28),  # (15/6 + 5/7) / 2
        ("region", 25 / 16),  # CoT 5/4 and Key 5/3 per token: 1/4 * 5/4 + 3/4 * 5/3
    ],
)
def test_a_worked_number(kind: Kind, expected: float, split: bool) -> None:
    batches = [collate([A], WEIGHTS), collate([B], WEIGHTS)] if split else [collate([A, B], WEIGHTS)]
    assert _loss(batches, WEIGHTS, kind) == pytest.approx(expected, rel=1e-6)


@KINDS
def test_the_factors_of_the_global_batch_add_up_to_one(kind: Kind, prepared: TrainingSet) -> None:
    weights = Weights(prompt=0.1, cot=1, tag=0.5, key=10, eos=2)
    batches = [collate(prepared.examples.first(3), weights), collate([prepared.examples[5]], weights)]
    assert float(sum(f.sum() for f in _factors(batches, weights, kind))) == pytest.approx(1, rel=1e-6)


def test_with_one_region_the_mean_by_region_is_that_by_token(prepared: TrainingSet) -> None:
    batches = [collate(prepared.examples.first(7), Weights(key=3))]
    by_token, by_region = (_factors(batches, Weights(key=3), kind)[0] for kind in ("token", "region"))
    torch.testing.assert_close(by_region, by_token)


def test_a_region_that_does_not_occur_leaves_its_share_to_the_others() -> None:
    weights = Weights(cot=1, key=3, eos=4)
    assert _loss([collate([A, B], weights)], weights, "region") == pytest.approx(25 / 16, rel=1e-6)


def test_tokens_of_a_target_region_may_weigh_nothing_in_a_step() -> None:
    batches = [collate([A, B], WEIGHTS)]
    for kind, expected in (("token", 5 / 3), ("example", (4 + 1 / 2) / 2), ("region", 5 / 3)):
        assert _loss(batches, Weights(key=3), kind) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [("token", 17 / 8), ("example", 17 / 8), ("region", 2.125)])
def test_a_token_weighs_what_its_role_weighs(kind: Kind, expected: float) -> None:
    swapped = replace(A, roles=torch.tensor([PROMPT, KEY, COT, COT, KEY]))
    (factors,) = _factors([collate([swapped], WEIGHTS)], WEIGHTS, kind)
    # (3 * 1 + 1 + 1 + 3 * 4) / 8 = 17/8, by region 1/4 * (1 + 1) / 2 + 3/4 * (1 + 4) / 2 = 2.125
    assert float((factors * torch.tensor(LOSSES["a"])).sum()) == pytest.approx(expected)


@KINDS
def test_sums_of_ranks_with_different_numbers_of_keys_add_up_to_those_of_the_whole(kind: Kind) -> None:
    by_region = weight_by_region(WEIGHTS)
    (whole,) = _factors([collate([A, B], WEIGHTS)], WEIGHTS, kind)
    ranks = [collate([A], WEIGHTS), collate([B], WEIGHTS)]
    sums = sum((weight_sums([rank], by_region) for rank in ranks), torch.zeros(6, dtype=torch.float64))
    factors = torch.cat([normalised_weights(rank, by_region, sums, kind) for rank in ranks])
    torch.testing.assert_close(factors, whole)


@KINDS
def test_a_batch_whose_weights_sum_to_zero_is_an_error(kind: Kind) -> None:
    with pytest.raises(NoTarget, match="the weights of a batch sum to zero"):
        _factors([collate([A, B], WEIGHTS)], Weights(eos=1), kind)


def test_an_example_whose_weights_sum_to_zero_has_no_mean() -> None:
    without_cot = Example("c", torch.arange(3), RegionBorders(1, 1, 1, 2, 2, 3))
    with pytest.raises(NoTarget, match="example 'c': all weights are zero"):
        _factors([collate([A, without_cot], WEIGHTS)], Weights(cot=1), "example")
