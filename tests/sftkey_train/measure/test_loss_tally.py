"""What a step cost, added up over its forward passes."""

from dataclasses import replace

import pytest
import torch

from sftkey_train.batches.batch import Batch, Example, collate
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.measure.loss_tally import LossTally
from sftkey_train.recipe import Weights


def _batch(name: str) -> Batch:
    """Targets: one token of the tag before the Key, two of the Key, the EOS."""
    example = Example(name, torch.arange(10), RegionBorders(2, 5, 6, 8, 8, 9))
    return collate([example], Weights(tag=1, key=5, eos=1))


def test_losses_are_means_per_token_of_a_region_over_all_forward_passes() -> None:
    tally = LossTally()
    tally.add(_batch("a"), torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor(0.25))
    tally.add(_batch("b"), torch.tensor([3.0, 0.0, 1.0, 2.0]), torch.tensor(0.5))
    figures = tally.read()
    assert figures.loss_by_region == {"tag": 2.0, "key": 1.75, "eos": 5.0}
    assert figures.loss == pytest.approx(0.75)
    assert (figures.weighted_tokens, figures.tokens, figures.examples) == (8, 20, 2)
    assert tally.suspects == []


def test_examples_with_a_loss_that_is_not_finite_are_remembered() -> None:
    tally = LossTally()
    for name, loss in (("a", 1.0), ("b", float("nan")), ("c", 1.0), ("d", float("inf"))):
        tally.add(_batch(name), torch.tensor([1.0, loss, 1.0, 1.0]))
    assert tally.suspects == ["b", "d"]


def test_anchored_tokens_have_a_kl_and_no_part_in_the_losses() -> None:
    batch, tally = replace(_batch("a"), anchor=torch.tensor([0.5, 0.0, 0.5, 0.0])), LossTally()
    for _ in range(2):
        tally.add(batch, torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor(0.25))
    figures = tally.read()
    assert figures.loss_by_region == {"key": 2.0, "eos": 8.0}
    assert (figures.weighted_tokens, figures.kl) == (4, 2 * (0.5 * 1 + 0.5 * 4))


def test_an_anchored_token_that_is_not_finite_is_remembered_too() -> None:
    tally = LossTally()
    tally.add(replace(_batch("a"), anchor=torch.tensor([1.0, 0, 0, 0])), torch.tensor([float("nan"), 1, 1, 1]).float())
    assert tally.suspects == ["a"]
