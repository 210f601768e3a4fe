"""What an adapter adds to the weights below it, and the adapters for which that is not what the model computes."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sftkey_data.errors import SFTKeyError
from sftkey_train.loss.flash_attention import usual_attention
from sftkey_train.model.quantization import quantized_layers, whole_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_NAME = "default"
# Of the logits' norm: what rounding may change when an update of its weight's size is merged. Measured: up to 2e-6 over
# 18 families; where the model reads a weight past its adapter, 1e-4 and more.
MERGED = 1e-5
LAYER_BELOW = re.compile(r"\.base_layer(?=\.)")  # what an adapter puts between a layer's name and its weight's


def merged_weights(model: "PreTrainedModel", state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model without adapter layers that computes what `model` does with `state`.

    Each is what peft itself makes of a weight and its adapter, computed with the tensors of `state`.
    """
    weights, in_bits = whole_weights(model, state), quantized_layers(model)
    for name, layer in _adapter_layers(model).items():
        # What is in 4 bits is read where it lies: the constants of its blocks belong to the parameter, not to `state`.
        keys = [key for key, _ in layer.named_parameters() if f"{name}.{key.rpartition('.')[0]}" not in in_bits]
        own = {f"layer.{key}": state[f"{name}.{key}"] for key in keys}
        key = f"{name}.{_adapted(layer)}"  # added to `weights`, as two adapters may lie on one expert module
        weights[key] = functional_call(_Merged(layer), own, (weights[key],))
    return {LAYER_BELOW.sub("", k): v.detach() for k, v in weights.items() if ".lora_" not in k}


class _Update(nn.Module):
    """What an adapter adds to its weight, as a module's output, so that it can be asked for with other tensors."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> Tensor:
        update: Tensor = self.layer.get_delta_weight(ADAPTER_NAME)
        return update


class _Merged(nn.Module):
    """The weight with its adapter in it, as a module's output."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, weight: Tensor) -> Tensor:
        if ADAPTER_NAME not in self.layer.lora_variant:
            merged: Tensor = weight + self.layer.get_delta_weight(ADAPTER_NAME)
        elif weight.is_meta:
            merged = weight
        else:  # DoRA
            merged = self.layer.lora_variant[ADAPTER_NAME].merge_safe(self.layer, ADAPTER_NAME, weight)
        return merged


def _adapter_layers(model: "PreTrainedModel") -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _adapted(layer: Any) -> str:
    """Where in an adapter layer the weight lies that it adds to; of several experts' weights it says which."""
    below, depth = layer, 0
    while hasattr(below, "base_layer"):
        below, depth = below.base_layer, depth + 1
    return "base_layer." * depth + getattr(layer, "parameter_name", "weight")


def refuse_unmergeable(model: "PreTrainedModel", plain: Mapping[str, torch.Size]) -> None:
    """Refuse, before anything is trained, adapters whose merged weights would not be those of a plain model.

    Args:
        model: With its adapter.
        plain: The shape of each weight by name, as it was without, see `whole_shapes`.
    """
    from peft.utils import AuxiliaryTrainingWrapper

    for name, module in model.named_modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            raise SFTKeyError(f"lora: {name!r} would be trained beside the adapter, which no merged model could hold")
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for name, layer in _adapter_layers(model).items():
        if len(tied := names.get(id(_parameter(layer)), [])) > 1:
            others = ", ".join(repr(LAYER_BELOW.sub("", n)) for n in tied if not n.startswith(f"{name}."))
            raise SFTKeyError(f"lora: {name!r} shares its weight with {others}, so an adapter on one cannot be merged")
    try:  # with shapes alone
        merged = {key: value.shape for key, value in merged_weights(model, _shapes(model)).items()}
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        found = (str(error).splitlines() or [""])[0]
        raise SFTKeyError(f"lora: peft cannot merge such an adapter: {type(error).__name__}: {found}") from None
    if merged != plain:
        name = min(key for key in {*merged, *plain} if merged.get(key) != plain.get(key))
        raise SFTKeyError(f"lora: an adapter on {name!r} cannot be merged into the model's weights")


def whole_shapes(model: "PreTrainedModel") -> dict[str, torch.Size]:
    """The shape of each weight by name, also of one in 4 bits."""
    return {key: value.shape for key, value in whole_weights(model, _shapes(model)).items()}


def _shapes(model: "PreTrainedModel") -> dict[str, Tensor]:
    return {key: torch.empty_like(value, device="meta") for key, value in model.state_dict().items()}


def check_merges(model: "PreTrainedModel") -> None:
    """Refuse, before anything is trained, adapters that compute something else than their merged weights.

    One layer of each kind is tried with an update as large as its weight; model and random generators stay as they are.
    A layer in 4 bits, which cannot take a merged weight, is not tried.

    Raises:
        SFTKeyError: Names a layer, as Mamba's `dt_proj`, whose weight the model reads past the adapter.
    """
    was_training, generator = model.training, torch.Generator().manual_seed(0)
    model.eval()
    try:
        for name, layer in _one_of_each_kind(model).items():
            with usual_attention(model):
                merges = _merges(model, *_merged_and_adapted(name, layer, generator))
            if not merges:
                raise SFTKeyError(
                    f"lora: an adapter on {LAYER_BELOW.sub('', name)!r} cannot be merged, as {type(model).__name__} "
                    "reads its weight past the adapter; name other layers in target_modules"
                )
    finally:
        model.train(was_training)


def _merges(model: "PreTrainedModel", merged: dict[str, Tensor], adapted: dict[str, Tensor]) -> bool:
    ids = torch.arange(8, device=model.device)[None] % model.config.get_text_config().vocab_size
    adapter = [tensor.requires_grad_() for tensor in adapted.values()]
    found, expected = (
        functional_call(model, weights, (), {"input_ids": ids, "use_cache": False}).logits
        for weights in (merged, adapted)
    )
    # An adapter that is never asked has no gradient, and may change too little to be seen in the logits.
    asked = expected.requires_grad and all(
        gradient is not None for gradient in torch.autograd.grad(expected.sum(), adapter, allow_unused=True)
    )
    return asked and bool((found - expected).norm() <= MERGED * expected.norm())


def _one_of_each_kind(model: "PreTrainedModel") -> dict[str, Any]:
    kinds: dict[tuple[type, str, type], tuple[str, Any]] = {}
    in_bits = quantized_layers(model)
    for name, layer in _adapter_layers(model).items():
        if f"{name}.base_layer" in in_bits:
            continue
        above, _, last = name.rpartition(".")
        kinds.setdefault((type(model.get_submodule(above)), last, type(layer)), (name, layer))
    return dict(kinds.values())


@torch.no_grad()
def _merged_and_adapted(
    name: str, layer: Any, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same update of one layer twice, by the names of the model's parameters: in its weight, and in its adapter."""
    parameters = {key: parameter for key, parameter in layer.named_parameters() if key.startswith("lora_")}
    lengths = {key: parameter for key, parameter in parameters.items() if key.startswith("lora_magnitude_vector.")}
    drawn = {
        key: torch.randn(parameter.shape, generator=generator).to(parameter)
        for key, parameter in parameters.items()
        if key not in lengths
    }
    weight = _parameter(layer)
    update = functional_call(_Update(layer), _below(drawn), ())
    drawn[next(iter(drawn))] *= weight.norm() / update.norm()  # the update is linear in each of its matrices
    # Of DoRA: lengths that differ from those of the weight, and then those that leave the merged weight as it is.
    adapted = {**drawn, **{key: parameter * 1.5 for key, parameter in lengths.items()}}
    merged = functional_call(_Merged(layer), _below(adapted), (weight,))
    nothing = {key: torch.zeros_like(value) for key, value in drawn.items()}  # one that was trained adds something
    nothing |= {key: _own_lengths(layer, merged) for key in lengths}
    changed = {_adapted(layer): merged, **nothing}
    return {f"{name}.{key}": value for key, value in changed.items()}, {f"{name}.{k}": v for k, v in adapted.items()}


def _below(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"layer.{key}": value for key, value in values.items()}


def _own_lengths(layer: Any, weight: Tensor) -> Tensor:
    """Of each output of a weight, as DoRA has them at first."""
    lengths: Tensor = layer.lora_magnitude_vector[ADAPTER_NAME].get_weight_norm(weight, weight.new_zeros(()), 1)
    return lengths


def _parameter(layer: Any) -> Any:
    below: Any = layer
    for part in _adapted(layer).split("."):
        below = getattr(below, part, None)
    return below
