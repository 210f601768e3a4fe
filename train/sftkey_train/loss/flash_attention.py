"""Models that take half precision alone, where something is tried in fp32; FlashAttention takes no mask either."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import nn

from sftkey_train.batches.batch import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_IN_FP32 = "sdpa"


def is_flash_attention(model: "PreTrainedModel") -> bool:
    """Whether a model runs with one of FlashAttention's kernels, which need bf16 autocast over fp32 weights."""
    return "flash" in str(model.config._attn_implementation)


# Models whose layers lie in bf16 while they run; weak, so that none is kept alive.
_in_half: WeakSet[nn.Module] = WeakSet()


def lies_in_half(model: "PreTrainedModel") -> None:
    """Say of a model that its layers lie in bf16 while they run, though its weights are fp32."""
    _in_half.add(model)


def takes_half_alone(model: "PreTrainedModel") -> bool:
    """Whether a model runs under bf16 autocast only."""
    return is_flash_attention(model) or model in _in_half


def half_where_needed(model: "PreTrainedModel") -> torch.autocast:
    """While open, the model runs as it can: under bf16 autocast where it takes nothing else."""
    half = takes_half_alone(model) or torch.is_autocast_enabled(model.device.type)
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


@contextmanager
def usual_attention(model: "PreTrainedModel") -> Iterator[None]:
    """While open, a model whose attention takes half precision alone has the usual one, for what is tried in fp32."""
    own = model.config._attn_implementation
    if not is_flash_attention(model):
        yield
        return
    model.config._attn_implementation = ATTENTION_IN_FP32  # of its sub-configurations too
    try:
        yield
    finally:
        model.config._attn_implementation = own


def model_inputs(model: "PreTrainedModel", batch: Batch) -> dict[str, Any]:
    """Arguments of a forward pass over all of a batch.

    Of packed rows, transformers makes a block mask of their positions. FlashAttention's kernels for variable lengths
    take none, but the places where examples begin: given here, as transformers would otherwise look for them in every
    layer, each time waiting for the device. Models that take no such arguments are left to that.
    """
    if not (batch.segments and is_flash_attention(model) and _hands_on(model)):
        return batch.inputs
    return batch.inputs | batch.segments


def _hands_on(model: "PreTrainedModel") -> bool:
    """Whether a model takes arguments that are not its own, which it then gives to its layers."""
    parameters = inspect.signature(model.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
