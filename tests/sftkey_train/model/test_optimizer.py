"""AdamW's groups and the norm of the gradients."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from sftkey_train.model.optimizer import build_optimizer, clip_gradients, set_learning_rate
from sftkey_train.recipe import Stage

STAGE = Stage(name="s", loss_on="key", steps=1, batch_size=1, lr=1e-3, weight_decay=0.1, betas=(0.8, 0.9))


def test_every_parameter_is_in_one_group_and_only_matrices_decay(tiny_model: Callable[..., PreTrainedModel]) -> None:
    model = tiny_model("gpt2")
    matrices, others = build_optimizer(model, STAGE).param_groups
    assert {p.dim() for p in matrices["params"]} == {2}
    assert {p.dim() for p in others["params"]} == {1}
    assert len(matrices["params"]) + len(others["params"]) == len(list(model.parameters()))
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert matrices["betas"] == others["betas"] == (0.8, 0.9)


def test_the_learning_rate_is_that_of_every_group(tiny_model: Callable[..., PreTrainedModel]) -> None:
    optimizer = build_optimizer(tiny_model("gpt2"), STAGE)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize(("max_norm", "after"), [(2.0, 2.0), (100.0, 10.0), (0.0, 10.0)])
def test_gradients_are_scaled_down_to_the_norm_and_the_norm_before_is_returned(
    tiny_model: Callable[..., PreTrainedModel], max_norm: float, after: float
) -> None:
    model = tiny_model("llama")
    num_weights = sum(p.numel() for p in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 10.0 / num_weights**0.5)
    assert float(clip_gradients(model, max_norm)) == pytest.approx(10.0, rel=1e-4)
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(after, rel=1e-4)
