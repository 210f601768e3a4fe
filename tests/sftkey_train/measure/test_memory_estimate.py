"""The estimate without memory equals what a real forward pass keeps; the fixed parts are worked by hand."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from sftkey_train.batches.batch import Batch, Example, collate
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.measure.memory_estimate import estimate_memory, kept_for_backward, skeleton
from sftkey_train.model.lora import add_adapter
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_tables import Lora


@pytest.fixture
def batch(prepared: TrainingSet) -> Batch:
    return collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["completion"])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_shapes_alone_keep_as_much_as_a_real_pass(
    family: str, precision: Literal["fp32", "bf16"], tiny_model: Callable[..., Any], batch: Batch
) -> None:
    model: PreTrainedModel = tiny_model(family)
    real = kept_for_backward(model.train(), batch, precision)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert kept_for_backward(skeleton(model.config, mode), batch, precision) == real
    assert real[0] > batch.input_ids.numel() * 32 * 4  # more than one hidden state of every position


def test_keys_and_values_shared_by_heads_are_counted_a_little_too_high(
    tiny_model: Callable[..., Any], batch: Batch
) -> None:
    model: PreTrainedModel = tiny_model("qwen2")
    real, *_ = kept_for_backward(model.train(), batch, "fp32")
    assert real < estimate_memory(model.config, batch, "fp32").activations < 1.1 * real


def test_weights_gradients_and_moments_are_four_four_and_eight_bytes_a_parameter(
    tiny_model: Callable[..., Any], batch: Batch
) -> None:
    model: PreTrainedModel = tiny_model("llama")
    num = 2 * 512 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32  # tied it is not
    estimate = estimate_memory(model.config, batch, "fp32")
    assert (estimate.weights, estimate.gradients, estimate.optimizer) == (4 * num, 4 * num, 8 * num)
    assert estimate.total == sum(estimate.parts().values())


def test_logits_are_counted_at_the_positions_with_loss_alone(
    tiny_model: Callable[..., Any], prepared: TrainingSet
) -> None:
    config = tiny_model("llama").config
    answer = collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["answer"])
    completion = collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["completion"])
    few, many = (estimate_memory(config, batch, "fp32").logits for batch in (answer, completion))
    assert few == 3 * 4 * len(answer.labels) * 512  # log-probabilities, their gradient, the gradient of the logits
    assert many / few == len(completion.labels) / len(answer.labels)


def test_an_adapter_leaves_the_model_without_gradients_and_moments(
    tiny_model: Callable[..., Any], batch: Batch
) -> None:
    config = tiny_model("llama").config
    full, adapted = (estimate_memory(config, batch, "fp32", lora=lora) for lora in (None, Lora(r=2)))
    num = 2 * 2 * (4 * (32 + 32) + 3 * (32 + 48))  # layers x rank x (inputs and outputs of the seven matrices)
    assert (adapted.gradients, adapted.optimizer) == (4 * num, 8 * num)
    assert adapted.weights == full.weights + 4 * num


def test_recomputed_activations_are_the_inputs_of_all_layers_and_the_rest_of_one(
    tiny_model: Callable[..., Any], batch: Batch
) -> None:
    shallow, deep = (tiny_model("llama", num_hidden_layers=n).config for n in (2, 6))
    kept, recomputed = (
        [estimate_memory(c, batch, "fp32", gradient_checkpointing=on).activations for c in (shallow, deep)]
        for on in (False, True)
    )
    hidden = batch.input_ids.numel() * 32 * 4
    assert recomputed[1] - recomputed[0] == pytest.approx(4 * hidden, rel=0.05)
    assert kept[1] - kept[0] > 4 * 5 * hidden
    assert hidden < recomputed[0] < kept[0]


def test_an_anchor_needs_its_reference_beside_the_model(tiny_model: Callable[..., Any], batch: Batch) -> None:
    config = tiny_model("llama").config
    alone, anchored = (estimate_memory(config, batch, "fp32", anchor=on) for on in (False, True))
    assert anchored.total - alone.total == anchored.reference == alone.weights
    assert "reference" not in alone.parts()


ANCHORED_AND_ONCE: list[dict[str, bool]] = [{"anchor": True}, {"reduce_once": True}]


def test_processes_divide_weights_gradients_and_moments(tiny_model: Callable[..., Any], batch: Batch) -> None:
    config = tiny_model("llama").config
    alone, shared = (estimate_memory(config, batch, "fp32", num_shares=n) for n in (1, 4))
    assert (alone.gathered, alone.activations) == (0, shared.activations)
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(shared, part) == getattr(alone, part) // 4
    layer, outside = 4 * 32 * 32 + 3 * 32 * 48 + 2 * 32, 2 * 512 * 32 + 32
    assert shared.gathered == 4 * (2 * layer + 2 * outside)
    anchored, once = (estimate_memory(config, batch, "fp32", num_shares=4, **o) for o in ANCHORED_AND_ONCE)
    assert anchored.reference == alone.weights // 4
    assert (once.gradients, once.gathered) == (alone.gradients, 4 * (2 * layer + outside))


def test_layers_gathered_in_half_leave_no_copies_for_the_backward_pass(
    tiny_model: Callable[..., Any], batch: Batch
) -> None:
    config = tiny_model("llama").config
    alone, shared = (estimate_memory(config, batch, "bf16", num_shares=n) for n in (1, 4))
    matrices, norms, outside = 4 * 32 * 32 + 3 * 32 * 48, 2 * 32, 2 * 512 * 32 + 32
    assert alone.activations - shared.activations == 2 * (2 * matrices)  # of two layers, two bytes each
    assert shared.gathered == 2 * 2 * (matrices + norms) + 4 * 2 * outside


def test_a_context_that_is_only_read_keeps_its_keys_and_values_alone(tiny_model: Callable[..., Any]) -> None:
    def activations(num_context: int, **options: bool) -> int:
        example = Example(
            "a", torch.arange(num_context + 8), RegionBorders(8, *[num_context + n for n in (0, 2, 5, 7, 8)])
        )
        batch = collate([example], LOSS_ON_WEIGHTS["answer"])
        return estimate_memory(tiny_model("llama").config, batch, "fp32", **options).activations

    # A position more costs its keys and values, and what masks it from 8 of the answer: a byte, and a float per layer.
    more = activations(300, context_gradient=False) - activations(100, context_gradient=False)
    assert more == 200 * (2 * 2 * 32 * 4 + 8 * (1 + 2 * 4))
    assert activations(300) - activations(100) > 4 * more


@pytest.mark.parametrize("option", [{}, {"context_gradient": False}], ids=str)
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_shapes_alone_keep_as_much_with_other_ways_to_train(
    adapted: bool, option: dict[str, bool], tiny_model: Callable[..., Any], batch: Batch
) -> None:
    model: PreTrainedModel = tiny_model("llama")
    lora = Lora(r=2) if adapted else None
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        shapes = kept_for_backward(skeleton(model.config, mode, lora), batch, "fp32", **option)
    if lora is not None:
        add_adapter(model, lora, seed=0)
    assert shapes == kept_for_backward(model.train(), batch, "fp32", **option)
