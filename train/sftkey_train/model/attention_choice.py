"""Which of transformers' attention functions a model runs with, and where one of them cannot work."""

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from sftkey_data.errors import SFTKeyError
from sftkey_train.model.model import untrained_model
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_tables import Attention

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Attributes by which models of transformers say that they can run with one.
SUPPORTED_BY: Mapping[Attention, str] = {
    "sdpa": "_supports_sdpa",
    "flex_attention": "_supports_flex_attn",
    "flash_attention_2": "_supports_flash_attn",
    "flash_attention_3": "_supports_flash_attn",
}
# Told apart here, as transformers would look for a kernel on the hub where the package is missing.
INSTALLED = {
    "flash_attention_2": ("flash-attn", is_flash_attn_2_available),
    "flash_attention_3": ("flash-attn-3", is_flash_attn_3_available),
}
DROPOUTS = ("attention_dropout", "attn_pdrop", "attn_dropout", "attention_probs_dropout_prob")
"""What families call the dropout of attention."""


def attention_used(recipe: Recipe, config: "PreTrainedConfig", device: torch.device) -> str:
    """The attention of the run's models: as the recipe asks, or what `auto` comes to; no weights are loaded for it.

    Raises:
        SFTKeyError: It is not installed, or does not go with the model, the device or the recipe's precision.
    """
    if recipe.attention != "auto":
        _check_machine(recipe, device)
    config = deepcopy(config)  # transformers notes there what it chooses
    with torch.device("meta"):
        model: Any = untrained_model(config)
    if recipe.attention == "auto":
        return str(model.config._attn_implementation)
    _check_model(recipe.attention, model)
    return recipe.attention


def _check_machine(recipe: Recipe, device: torch.device) -> None:
    name = recipe.attention
    if name not in INSTALLED:
        if name == "flex_attention" and device.type == "cpu":
            raise SFTKeyError(f"attention = {name!r} does not train on a CPU, as torch has no gradient of it there")
        return
    package, is_installed = INSTALLED[name]
    if device.type != "cuda":
        raise SFTKeyError(f"attention = {name!r} needs a GPU, found device {device.type!r}")
    if recipe.precision != "bf16":
        raise SFTKeyError(f"attention = {name!r} needs precision = 'bf16', found {recipe.precision!r}")
    if not is_installed():
        raise SFTKeyError(f"attention = {name!r} needs {package}, not installed")


def _check_model(name: Attention, model: Any) -> None:
    family, config = type(model).__name__, model.config.get_text_config()
    if name == "sdpa" and getattr(config, "attn_logit_softcapping", None):
        raise SFTKeyError(f"attention = 'sdpa' leaves out the soft-capping of {family}; expected 'auto' or 'eager'")
    compatible = getattr(model, "_compatible_flash_implementations", None)  # others are swapped for kernels of the hub
    swapped = name in INSTALLED and compatible is not None and name not in compatible
    if swapped or not getattr(model, SUPPORTED_BY.get(name, ""), name == "eager"):
        raise SFTKeyError(f"attention = {name!r} is not for {family} in transformers; expected 'auto'")
    dropout = next((field for field in DROPOUTS if getattr(config, field, None)), None)
    if name in ("flex_attention", "flash_attention_3") and dropout is not None:
        raise SFTKeyError(f"attention = {name!r} has no dropout, found {dropout} = {getattr(config, dropout)}")
