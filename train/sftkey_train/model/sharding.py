"""FSDP: each rank holds a share of weights, gradients and optimizer; a layer is gathered whole while it runs.

By torch's `fully_shard` (FSDP2). Gradients are summed over the ranks, not averaged, as everywhere here: each rank has
divided by the weight of the global batch already. Gathering a layer takes all ranks, so all must pass through the model
equally often; `keep_pace` sees to it.

Under bf16 autocast layers are gathered in bf16: half as much is sent, a weight is cast once a gather, and no copy of it
is kept for the backward pass. Shares and their sums stay fp32, and so does what is in no layer: embeddings, whose sums
over many tokens bf16 would round, the last norm, the output layer.
"""

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from sftkey_train import ranks
from sftkey_train.loss.flash_attention import half_where_needed, lies_in_half
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.recipe_tables import Lora

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

# Hidden states stay fp32, as under autocast: a layer is not given them in bf16.
HALF = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)


def gathers_in_half(precision: Literal["fp32", "bf16"], lora: Lora | None) -> bool:
    """Whether layers are gathered in bf16; not where DoRA keeps lengths of weights in them, which it would round."""
    return precision == "bf16" and not (lora is not None and lora.dora)


def shard(model: "PreTrainedModel", *, half: bool = False) -> None:
    """Leave each rank its share of every weight, in place; the layers are those that transformers keeps together.

    What is in no layer stays gathered from a forward pass to its backward pass; of a frozen model, which has none, not.

    Args:
        model: In fp32, or without numbers, which are then read into the shares.
        half: See `gathers_in_half`; the model then runs under bf16 autocast alone.
    """
    if not any(parameter.is_meta for parameter in model.parameters()):
        logits_are_plain(model)  # tries the model out once, while no other rank is needed for it
    together = set(model._no_split_modules or ())
    for module in [m for m in model.modules() if type(m).__name__ in together]:
        fully_shard(module, mp_policy=HALF if half else MixedPrecisionPolicy())
    learns = any(parameter.requires_grad for parameter in model.parameters())
    # Last: it takes only what no layer has taken.
    fully_shard(model, reshard_after_forward=None if learns else True)
    if half:
        lies_in_half(model)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the default divides by the number of ranks
            module.set_force_sum_reduction_for_comms(True)  # gloo can do no other


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether `shard` has been there."""
    return isinstance(model, FSDPModule)


def keep_pace(
    model: "PreTrainedModel", num_passes: int, reference: "PreTrainedModel | None" = None, *, once: bool = False
) -> None:
    """Make up, before a rank's own passes, for those that other ranks have more; gradients get zeros added.

    Args:
        model: Nothing is done where it is not sharded.
        num_passes: The rank's own.
        reference: The other model that each pass goes through, before its backward pass; sharded as well.
        once: Whether gradients are summed over the ranks in the last backward pass of a step alone.
    """
    if not is_sharded(model):
        return
    missing = ranks.greatest(num_passes) - num_passes
    for after in reversed(range(missing)):
        token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        with half_where_needed(model):
            logits: Tensor = model(input_ids=token, use_cache=False).logits
            if reference is not None:
                with torch.no_grad():
                    reference(input_ids=token, use_cache=False)
        if torch.is_grad_enabled():
            sum_next_gradients(model, when=not once or after + num_passes == 0)
            (logits.sum() * 0).backward()  # a backward pass, too, takes all ranks


def sum_next_gradients(model: "PreTrainedModel", *, when: bool) -> None:
    """Have the backward passes that follow sum gradients over the ranks; else each rank adds its own up, whole."""
    cast(FSDPModule, model).set_requires_gradient_sync(when)


def whole_state(model: "PreTrainedModel") -> dict[str, Tensor]:
    """The weights by name; those of a sharded model, which all ranks must ask for, come to the first alone.

    Weights that the model ties are one tensor under each of their names.
    """
    if not is_sharded(model):
        return model.state_dict()
    gathered: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in gathered:
            gathered[id(value)] = _whole(value)
        if ranks.is_main():
            state[name] = gathered[id(value)]
        else:
            gathered[id(value)] = torch.empty(0)  # freed: the other ranks only help to gather
    return state


def whole_optimizer_state(optimizer: "Optimizer") -> dict[str, Any]:
    """What `Optimizer.state_dict` gives, with whole tensors; where they are shares, all ranks must ask for it."""
    state = optimizer.state_dict()
    values = {index: {k: _whole(v) for k, v in entry.items()} for index, entry in state["state"].items()}
    return {**state, "state": values}


def load_optimizer_state(optimizer: "Optimizer", whole: dict[str, Any]) -> None:
    """Put back what `whole_optimizer_state` gave; each rank takes its share."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {i: {k: _share(v, parameters[i]) for k, v in entry.items()} for i, entry in whole["state"].items()}
    optimizer.load_state_dict({**whole, "state": state})


def _whole(value: Any) -> Any:
    return value.full_tensor().detach().cpu() if isinstance(value, DTensor) else value


def _share(value: Any, parameter: Tensor) -> Any:
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:  # the number of steps is a scalar
        return value
    # No source rank: every rank has read the whole value, so nothing is sent.
    mesh = parameter.device_mesh
    return distribute_tensor(value.to(parameter.device), mesh, parameter.placements, src_data_rank=None)
