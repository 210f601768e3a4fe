"""Models whose attention takes half precision alone, as FlashAttention does, where something is tried in fp32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_IN_FP32 = "sdpa"


def takes_half_only(model: "PreTrainedModel") -> bool:
    """Whether a forward pass over fp32 weights needs bf16 autocast around it."""
    return "flash" in str(model.config._attn_implementation)


def half_where_needed(model: "PreTrainedModel") -> torch.autocast:
    """While open, the model runs as it can: under bf16 autocast where its attention takes nothing else."""
    half = takes_half_only(model) or torch.is_autocast_enabled(model.device.type)
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


@contextmanager
def usual_attention(model: "PreTrainedModel") -> Iterator[None]:
    """While open, a model whose attention takes half precision alone has the usual one, for what is tried in fp32."""
    own = model.config._attn_implementation
    if not takes_half_only(model):
        yield
        return
    model.config._attn_implementation = ATTENTION_IN_FP32  # of its sub-configurations too
    try:
        yield
    finally:
        model.config._attn_implementation = own
