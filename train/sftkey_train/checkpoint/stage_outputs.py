"""The models a stage leaves: `final`, and the best so far; each loads by itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sftkey_data.storage.sealed_json import sealed_file
from sftkey_train import ranks
from sftkey_train.checkpoint.checkpoint import BEST, StageFolder, drop_checkpoints, drop_weights, saving
from sftkey_train.checkpoint.origin import write_origin
from sftkey_train.model.adapter_merge import merged_weights
from sftkey_train.model.lora import has_adapter, save_adapter
from sftkey_train.model.quantization import without_bits
from sftkey_train.model.sharding import whole_state

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RECIPE, ADAPTER = "recipe.json", "adapter"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the models of a stage go, and what goes with them; every rank asks for them, the first writes."""

    folder: StageFolder
    tokenizer: "PreTrainedTokenizerBase"
    recipe: dict[str, Any]


def finish_stage(outputs: Outputs, model: "PreTrainedModel") -> None:
    """Write the stage's result, then drop what was only needed to resume."""
    _write_model(outputs, outputs.folder.final, model)
    if ranks.is_main():
        drop_checkpoints(outputs.folder)


def keep_best(outputs: Outputs, model: "PreTrainedModel", step: int) -> None:
    """Write the model as the best so far, then drop the one before."""
    target = outputs.folder.path / f"{BEST}{step}"
    _write_model(outputs, target, model)
    if ranks.is_main():
        folder = outputs.folder
        others = [path for path in folder.weights() if path == target or not path.name.startswith(BEST)]
        drop_weights(folder, keep=others)


def _write_model(outputs: Outputs, target: "Path", model: "PreTrainedModel") -> None:
    """Write a model that loads by itself: whole weights, tokenizer, recipe; the adapter apart, where there is one."""
    state = whole_state(model)
    if not ranks.is_main():
        return
    with saving(target) as partial:
        if has_adapter(model):
            save_adapter(model, state, partial / ADAPTER)
            _save_ends(model, outputs.tokenizer, partial / ADAPTER)
            without_bits(model).save_pretrained(partial, state_dict=merged_weights(model, state))
        else:
            model.save_pretrained(partial, state_dict=state)
        outputs.tokenizer.save_pretrained(str(partial))
        (partial / RECIPE).write_bytes(sealed_file(outputs.recipe))
        write_origin(partial, outputs.folder.origin)


def _save_ends(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", adapter: "Path") -> None:
    """What an adapter needs on the model it was trained on, which may end its completions otherwise."""
    tokenizer.save_pretrained(str(adapter))
    if model.generation_config is not None:
        model.generation_config.save_pretrained(str(adapter))
