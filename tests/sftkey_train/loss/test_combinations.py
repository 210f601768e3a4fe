"""Options of a stage in combination: loss and gradients are those of the plain path, whatever is combined."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from plain import plain_loss
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_train.batches.batch import Example, ExampleOrder
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.anchor import frozen
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.model import recompute_activations
from sftkey_train.recipe import Stage
from sftkey_train.recipe_tables import Lora

Make = Callable[..., PreTrainedModel]
ORDER = ExampleOrder(seed=3, depth=1, num_examples=60, batch_size=6, num_seen=30)
EVERYTHING: dict[str, Any] = {"weights": {"prompt": 0.1, "cot": 1, "tag": 0.5, "key": 10, "eos": 2}}
ANSWER: dict[str, Any] = {"loss_on": "answer"}
ANCHORED: dict[str, Any] = {"loss_on": "answer", "anchor": 0.5}
READ: dict[str, Any] = {"loss_on": "answer", "context_gradient": False}
PRUNED: dict[str, Any] = {"loss_on": "answer", "prune_last_layer": True}
PACKED: dict[str, Any] = {"packing": "on", "max_tokens": 300}
MEANS = ("token", "example", "region")


@dataclass(frozen=True)
class Combination:
    options: dict[str, Any]
    lora: bool = False
    checkpointing: bool = False
    changes: dict[str, Any] = field(default_factory=dict)  # of the stage, that are to change nothing


COMBINATIONS = {
    "anchor, lora": Combination(ANCHORED, lora=True),
    "anchor, packed": Combination(ANCHORED, changes=PACKED),
    "anchor, packed, lora, checkpointing, dft, example": Combination(
        {**ANCHORED, "token_loss": "dft", "normalisation": "example"}, lora=True, checkpointing=True, changes=PACKED
    ),
    "anchor, checkpointing, split": Combination(ANCHORED, checkpointing=True, changes={"micro_batch_size": 2}),
    "read, lora": Combination(READ, lora=True),
    "read, checkpointing": Combination(READ, checkpointing=True),
    "read, lora, checkpointing, region, split": Combination(
        {**READ, "normalisation": "region"}, lora=True, checkpointing=True, changes={"micro_batch_size": 4}
    ),
    "packed, focal": Combination({**EVERYTHING, "token_loss": "focal"}, changes=PACKED),
    "packed, anchor, focal, lora, checkpointing": Combination(
        {**ANCHORED, "token_loss": "focal", "normalisation": "region"}, lora=True, checkpointing=True, changes=PACKED
    ),
    "read, split, focal": Combination({**READ, "token_loss": "focal"}, changes={"micro_batch_size": 2}),
    "read, budget, dft": Combination({**READ, "token_loss": "dft"}, changes={"max_tokens": 300}),
    "lora, checkpointing": Combination(EVERYTHING, lora=True, checkpointing=True),
    "packed, checkpointing": Combination(EVERYTHING, checkpointing=True, changes=PACKED),
    "packed, lora": Combination(EVERYTHING, lora=True, changes=PACKED),
    **{f"packed, {m}": Combination({**EVERYTHING, "normalisation": m}, changes=PACKED) for m in MEANS},
    **{f"packed, answer, {m}": Combination({**ANSWER, "normalisation": m}, changes=PACKED) for m in MEANS},
    "pruned, lora, checkpointing": Combination(PRUNED, lora=True, checkpointing=True),
    "pruned, packed, anchor, checkpointing, dft, example": Combination(
        {**ANCHORED, **PRUNED, "token_loss": "dft", "normalisation": "example"}, checkpointing=True, changes=PACKED
    ),
    "packed, placebo, region": Combination(
        {"loss_on": "key", "placebo": True, "normalisation": "region"}, changes=PACKED
    ),
    **{
        f"dft, example, split {n}": Combination(
            {**EVERYTHING, "token_loss": "dft", "normalisation": "example"}, changes={"micro_batch_size": n}
        )
        for n in (1, 2, 4)
    },
}


def _stage(**options: Any) -> Stage:
    return Stage.model_validate({"name": "a", "steps": 5, "batch_size": 6, "lr": 1e-3, **options})


def _randomise(model: PreTrainedModel, what: str, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if what in name:
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


def _gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def _step(
    model: PreTrainedModel, examples: Sequence[Example], stage: Stage, reference: PreTrainedModel
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one step as the loop computes them."""
    loss = 0.0
    for batch in step_batches(stage, examples, 2, ORDER, pad_token_id=5, packed=stage.packing == "on"):
        how = {"context_gradient": stage.context_gradient, "prune_last_layer": stage.prune_last_layer}
        costs = token_costs(model, batch, reference if stage.anchor else None, **how)
        share = batch_loss(costs, batch, stage)
        share.backward()
        loss += float(share.detach())
    return loss, _gradients(model)


@pytest.mark.parametrize("combination", COMBINATIONS.values(), ids=COMBINATIONS.keys())
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_loss_and_gradients_are_those_of_the_plain_path(
    family: str, combination: Combination, tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples = tiny_model(family).train(), prepared.examples.first(6)
    reference = copy.deepcopy(model)
    if combination.lora:
        for each, seed in ((model, 5), (reference, 6)):
            add_adapter(each, Lora(r=2), seed=0)
            _randomise(each, ".lora_B.", 0.02, seed)
    else:
        _randomise(reference, "", 0.05, 6)
    frozen(reference)
    expected_loss = plain_loss(model, examples, _stage(**combination.options), 2, ORDER, reference)
    expected_loss.backward()
    expected = _gradients(model)
    if combination.checkpointing:
        recompute_activations(model)
    loss, found = _step(model, examples, _stage(**combination.options, **combination.changes), reference)
    assert loss == pytest.approx(float(expected_loss.detach()), rel=1e-5)
    assert all(".lora_" in name for name in found) == combination.lora
    assert found.keys() == expected.keys()
    floor = 1e-5 * torch.stack([gradient.norm() for gradient in expected.values()]).norm()  # rests of sums that cancel
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp_min(floor)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"
    assert sum(float(gradient.norm()) > 0 for gradient in found.values()) == len(found)
