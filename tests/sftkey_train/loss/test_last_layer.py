"""The last layer run only where something is predicted: the same loss and gradients, for every kind of layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_train.batches.batch import Batch, collate
from sftkey_train.batches.packing import pack
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.last_layer import last_layer_prunes
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.loss.token_loss import selected_logits, token_nll, weighted_loss
from sftkey_train.model.model import recompute_activations
from sftkey_train.recipe import LOSS_ON_WEIGHTS

Make = Callable[..., PreTrainedModel]
STAGES = pytest.mark.parametrize("loss_on", ["completion", "answer"])


def _step(model: PreTrainedModel, batch: Batch, *, pruned: bool) -> tuple[float, dict[str, Tensor]]:
    nll = token_nll(model, batch, prune_last_layer=pruned)
    loss = weighted_loss(nll, batch.weights, float(batch.weights.sum()))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return float(loss.detach()), gradients


def _assert_pruning_changes_nothing(model: PreTrainedModel, batch: Batch) -> None:
    loss, expected = _step(model, batch, pruned=False)
    found_loss, found = _step(model, batch, pruned=True)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys()
    floor = 1e-5 * torch.stack([gradient.norm() for gradient in expected.values()]).norm()  # rests of sums that cancel
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp_min(floor)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


def _packed(prepared: TrainingSet, loss_on: Any) -> Batch:
    return pack([collate([example], LOSS_ON_WEIGHTS[loss_on]) for example in prepared.examples.first(5)])


@STAGES
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_loss_and_gradients_are_those_of_the_whole_layer(
    family: str, packed: bool, loss_on: Any, tiny_model: Make, prepared: TrainingSet
) -> None:
    batch = _packed(prepared, loss_on) if packed else collate(prepared.examples.first(5), LOSS_ON_WEIGHTS[loss_on], 5)
    _assert_pruning_changes_nothing(tiny_model(family), batch)


def _counted(model: PreTrainedModel, part: str) -> list[int]:
    """How many positions go through a part of a layer of llama, one number per call."""
    seen: list[int] = []
    layer = model.model.layers[-1].get_submodule(part)
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    return seen


def test_only_keys_and_values_are_computed_elsewhere(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("llama"), _packed(prepared, "answer")
    logits_are_plain(model)  # tried out once, with one token
    mlp, keys = _counted(model, "mlp"), _counted(model, "self_attn.k_proj")
    token_nll(model, batch, prune_last_layer=True)
    assert mlp == [len(batch.labels)]
    assert keys[0] == batch.input_ids.numel() > 3 * len(batch.labels)
    token_nll(model, batch)
    assert mlp[1:] == [batch.input_ids.numel()]


def test_the_layer_is_as_it_was_afterwards(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("llama").train(), collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["answer"])
    recompute_activations(model)
    layer = model.model.layers[-1]
    before = dict(vars(layer))
    with last_layer_prunes(model, batch.positions):
        assert not layer.gradient_checkpointing
    assert vars(layer) == before
    assert layer.gradient_checkpointing


def test_half_precision_is_near(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("gemma2"), collate(prepared.examples.first(4), LOSS_ON_WEIGHTS["answer"])
    with torch.autocast("cpu", torch.bfloat16):
        whole, pruned = (selected_logits(model, batch, prune_last_layer=prunes) for prunes in (False, True))
    torch.testing.assert_close(pruned, whole, rtol=0.05, atol=0.1)
