"""Operations counted from shapes, against numbers worked by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedModel

from sftkey_train.pass_flops import forward_flops

# Weights of one layer's matrices at hidden 32, intermediate 48: attention, then the feed-forward part.
LAYER = {
    "llama": 4 * 32 * 32 + 3 * 32 * 48,
    "qwen2": 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48,  # keys and values have half the heads
    "gpt2": 4 * 32 * 32 + 2 * 32 * 128,
}


@pytest.mark.parametrize("family", LAYER)
def test_every_matrix_costs_two_operations_a_weight_and_token(family: str, tiny_model: Callable[..., Any]) -> None:
    model: PreTrainedModel = tiny_model(family)
    cost = forward_flops(model, [2, 3], 3)
    assert cost.layers == 2 * 5 * 2 * LAYER[family]
    assert cost.attention == (3 + 6) * 2 * 2 * 32 * 2  # 9 pairs, two products, two operations, width 32, two layers
    assert cost.head == 2 * 3 * 32 * 512
    assert cost.training == 3 * (cost.layers + cost.attention + cost.head)
