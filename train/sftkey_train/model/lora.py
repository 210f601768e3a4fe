"""Low-rank adapters (Hu et al., arXiv 2106.09685) inside a model, by peft: put in, saved small, gone on with.

The model stays a transformers model with adapter layers in it, so loss, generation and checkpoints treat it like any
other. Stages hand the adapter on, so that after the last stage one adapter on the first model gives the whole change.
peft is loaded where there is an adapter, as no other run needs it.
"""

import warnings
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extras import require
from sftkey_train.model.adapter_merge import ADAPTER_NAME, refuse_unmergeable, whole_shapes
from sftkey_train.recipe_tables import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_FILE = "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."  # before every name in peft's files


def add_adapter(model: "PreTrainedModel", lora: Lora, seed: int, folder: Path | None = None) -> None:
    """Put an adapter into `model` and freeze everything else.

    Args:
        model: Changed in place.
        lora: Sizes, which layers, and which modules are trained themselves.
        seed: The first matrix of each pair is drawn from it, the second is zero: at first the model is as it was.
        folder: Where `save_adapter` has written one to go on with.

    Raises:
        SFTKeyError: peft is not installed, no layer or module is named so, the adapter could not be merged into the
            weights afterwards, or the folder holds another adapter.
    """
    require("lora", "train", "peft")
    from peft import LoraConfig, inject_adapter_in_model

    trained = trained_modules(model, lora.modules_to_save)
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_dora=lora.dora,
        # Named to peft afterwards only, as it would put a copy beside each, which no merged model could hold.
        exclude_modules=[name for name, _ in model.named_modules() if _is_within(name, trained)] or None,
        task_type="CAUSAL_LM",
    )
    config.base_model_name_or_path = model.name_or_path
    plain = whole_shapes(model)
    torch.manual_seed(seed)  # peft draws the first matrices from the global generator
    try:
        with warnings.catch_warnings():  # of GPT-2's transposed layers, which peft then takes as they are
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, model, ADAPTER_NAME)
    except ValueError as error:
        raise SFTKeyError(f"lora: target_modules {targets!r}: {str(error).splitlines()[0]}") from None
    refuse_unmergeable(model, plain)
    embeddings = model.get_input_embeddings()
    config.exclude_modules, config.modules_to_save = None, list(lora.modules_to_save) or None
    config.ensure_weight_tying = _is_tied(model) and any(model.get_submodule(name) is embeddings for name in trained)
    for name in trained:
        module = model.get_submodule(name)
        if not all(parameter.is_floating_point() for parameter in module.parameters()):
            raise SFTKeyError(f"lora: modules_to_save: {name!r} is in 4 bits, which cannot be trained themselves")
        module.requires_grad_(True)
    if folder is not None:
        _load(model, folder)


def trained_modules(model: "PreTrainedModel", names: Sequence[str]) -> list[str]:
    """The modules that end in one of `names`, as peft's `modules_to_save` finds them.

    Raises:
        SFTKeyError: There is none, or one that peft could not load again: a list of modules, or an output layer that
            is one with the embeddings, which are to be named instead.
    """
    modules = [name for name, _ in model.named_modules()]
    found = [module for module in modules if any(module.endswith(name) for name in names)]
    for name in names:
        if not any(module.endswith(name) for module in modules):
            known = dict.fromkeys(module.rpartition(".")[2] for module in modules)
            raise SFTKeyError(f"lora: modules_to_save: no module is named {name!r}{nearest(name, list(known))}")
    for name in found:
        module = model.get_submodule(name)
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            raise SFTKeyError(f"lora: modules_to_save: {name!r} is a list of modules, expected modules")
        if module is model.get_output_embeddings() and _is_tied(model):
            raise SFTKeyError(
                f"lora: modules_to_save: {name!r} shares its weight with the input embeddings; name those instead"
            )
    return found


def _is_tied(model: "PreTrainedModel") -> bool:
    return model.get_input_embeddings().weight is getattr(model.get_output_embeddings(), "weight", None)


def _trained_weights(model: "PreTrainedModel") -> list[str]:
    """Names of the weights that are trained themselves, beside the adapter."""
    config: Any = model.peft_config[ADAPTER_NAME]
    modules = trained_modules(model, config.modules_to_save or ())
    if config.ensure_weight_tying:  # peft wants the one weight under both names
        modules += [name for name, module in model.named_modules() if module is model.get_output_embeddings()]
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return [name for name in names if _is_within(name, modules)]


def _is_within(name: str, modules: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def has_adapter(model: "PreTrainedModel") -> bool:
    """Whether `add_adapter` has put one in."""
    return hasattr(model, "peft_config")


def save_adapter(model: "PreTrainedModel", state: dict[str, Tensor], folder: Path) -> None:
    """Write the adapter in the weights `state` alone, as `peft.PeftModel.from_pretrained(base, folder)` reads it."""
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(model, state, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    weights |= {name: state[name].clone() for name in _trained_weights(model)}  # safetensors takes none that is shared
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = copy(model.peft_config[ADAPTER_NAME])
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)  # a set, in another order in each process
    config.save_pretrained(str(folder))
    save_file(
        {PEFT_PREFIX + k: v.contiguous() for k, v in weights.items()}, folder / ADAPTER_FILE, metadata={"format": "pt"}
    )


def save_weights(model: "PreTrainedModel", state: dict[str, Tensor], folder: Path) -> None:
    """Write what a checkpoint needs of the weights `state`: the adapter where there is one, else all."""
    if has_adapter(model):
        save_adapter(model, state, folder)
    else:
        model.save_pretrained(folder, state_dict=state)


def _load(model: "PreTrainedModel", folder: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    try:
        loaded = load_file(folder / ADAPTER_FILE)
    except (OSError, SafetensorError) as error:
        raise SFTKeyError(f"{folder / ADAPTER_FILE} cannot be read: {str(error).splitlines()[0]}") from None
    weights = {name.removeprefix(PEFT_PREFIX): weight for name, weight in loaded.items()}
    own = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    trained = {name: model.get_parameter(name) for name in _trained_weights(model)}
    own |= {name: parameter.data for name, parameter in trained.items()}
    # Compared here, as peft loads what fits and leaves out the rest without a word.
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items()}:
        raise SFTKeyError(f"{folder / ADAPTER_FILE} holds another adapter than the recipe describes in 'lora'")
    set_peft_model_state_dict(model, {k: v for k, v in weights.items() if k not in trained}, ADAPTER_NAME)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
