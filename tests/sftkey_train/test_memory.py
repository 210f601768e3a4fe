"""The estimate without memory equals what a real forward pass keeps; the fixed parts are worked by hand."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from sftkey_train.batches import Batch, collate
from sftkey_train.memory import estimate_memory, kept_for_backward, skeleton
from sftkey_train.prepared import Prepared
from sftkey_train.recipe import LOSS_ON


@pytest.fixture
def batch(prepared: Prepared) -> Batch:
    return collate(prepared.examples.first(3), LOSS_ON["completion"])


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
    tiny_model: Callable[..., Any], prepared: Prepared
) -> None:
    config = tiny_model("llama").config
    answer = collate(prepared.examples.first(3), LOSS_ON["answer"])
    completion = collate(prepared.examples.first(3), LOSS_ON["completion"])
    few, many = (estimate_memory(config, batch, "fp32").logits for batch in (answer, completion))
    assert few == 3 * 4 * len(answer.labels) * 512  # log-probabilities, their gradient, the gradient of the logits
    assert many / few == len(completion.labels) / len(answer.labels)
