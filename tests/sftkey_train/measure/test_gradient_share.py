"""The gradient of each region's part of the loss."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from sftkey_train.batches.batch import Batch, micro_batches
from sftkey_train.batches.region_weights import KEY
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.token_loss import token_nll, weighted_loss
from sftkey_train.measure.gradient_share import gradient_norms, shares
from sftkey_train.recipe import Weights

Make = Callable[..., PreTrainedModel]
WEIGHTS = Weights(cot=0.5, key=3.0)


def test_each_norm_is_that_of_the_regions_own_loss_and_nothing_is_left_behind(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    model = tiny_model("llama", attention_dropout=0.3).train()
    batches = micro_batches(prepared.examples.first(6), WEIGHTS, 4)
    total = sum(float(batch.weights.sum()) for batch in batches)
    state = torch.get_rng_state()
    norms = gradient_norms(model, batches, lambda batch: weighted_loss(token_nll(model, batch), batch.weights, total))
    assert list(norms) == ["cot", "key"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    squares = 0.0
    for batch in batches:  # the same random numbers as the step's own passes will draw
        loss = weighted_loss(token_nll(model, batch)[batch.regions == KEY], _of_key(batch), total)
        loss.backward()  # type: ignore[no-untyped-call]
    squares = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None)
    assert norms["key"] == pytest.approx(squares**0.5, rel=1e-5)


def _of_key(batch: Batch) -> torch.Tensor:
    return batch.weights[batch.regions == KEY]


def test_shares_sum_to_one() -> None:
    assert shares({"cot": 3.0, "key": 1.0}) == {"cot": 0.75, "key": 0.25}
    assert shares({"cot": 0.0}) == {}
