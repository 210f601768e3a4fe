"""QLoRA (arXiv 2305.14314): the model below an adapter in 4 bits, by bitsandbytes, and its weights whole again."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import require
from sftkey_train.recipe_tables import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Bytes a number: half of one, one for each block of 64, and four for each block of 256 of these.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True, slots=True)
class FourBits:
    """How a model is loaded in 4 bits."""

    precision: Literal["fp32", "bf16"]
    device: torch.device

    def arguments(self) -> dict[str, Any]:
        """Of `from_pretrained`: NF4, its constants quantized too, as of the paper; computed in the run's precision."""
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if self.precision == "bf16" else torch.float32,
        )
        return {"quantization_config": config, "device_map": {"": self.device}}


def check_quantization(lora: Lora | None, device: torch.device) -> None:
    """Refuse 4 bits that are not installed, or that the device cannot run; a small layer is tried.

    Raises:
        SFTKeyError: One line that says why.
    """
    if lora is None or lora.quantization is None:
        return
    wanted = f"lora: quantization = {lora.quantization!r}"
    require(wanted, "bitsandbytes", "bitsandbytes")
    try:
        from bitsandbytes.nn import Linear4bit

        layer = Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.float32).to(device)
        layer(torch.zeros(1, 64, device=device, requires_grad=True)).sum().backward()
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError, AssertionError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise SFTKeyError(f"{wanted} does not run on {device.type}: {type(error).__name__}: {said}") from None


def quantized_layers(model: "PreTrainedModel") -> dict[str, Any]:
    """The layers that hold their weight in 4 bits, by name."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return {}
    from bitsandbytes.nn import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def whole_weights(model: "PreTrainedModel", state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights `state` with those of 4 bits as the numbers that the model computes with, fp32; of shapes, shapes."""
    weights, layers = dict(state), quantized_layers(model)
    for name, layer in layers.items():
        for key in [key for key in weights if key.startswith(f"{name}.weight")]:
            stored = weights.pop(key)
            if key == f"{name}.weight":
                shape = (layer.out_features, layer.in_features)
                weights[key] = torch.empty(shape, device="meta") if stored.is_meta else _whole(layer)
    return weights


def _whole(layer: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    weight: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight.float()


def without_bits(model: "PreTrainedModel") -> "PreTrainedModel":
    """What saves the whole weights of a model: itself, or for one in 4 bits one of its shapes, without numbers."""
    if not quantized_layers(model):
        return model
    config = deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        plain: PreTrainedModel = type(model)(config)
    plain.generation_config = model.generation_config
    return plain


def to_be_quantized(model: "PreTrainedModel") -> Iterator[nn.Linear]:
    """The layers of a plain model, its adapter in it, that are in 4 bits when it is loaded so."""
    for name, module in model.named_modules():
        is_own = ".lora_" not in name and module is not model.get_output_embeddings()
        if isinstance(module, nn.Linear) and is_own and not module.weight.requires_grad:
            yield module
