"""The model that a stage starts from: its own checkpoint, what the stage before has left, or the recipe's model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftkey_data.errors import SFTKeyError
from sftkey_train.checkpoint.checkpoint import BEST, StageFolder
from sftkey_train.checkpoint.stage_outputs import ADAPTER
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.model import embed_pad_as_any, initial_model, load_model, stop_at_end_tokens
from sftkey_train.recipe import Recipe, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class StageStart:
    """What decides where a stage starts from."""

    recipe: Recipe
    config: "PreTrainedConfig"  # of the recipe's model
    tokenizer: "PreTrainedTokenizerBase"  # of the data
    stage: Stage
    folder: StageFolder  # the stage's own
    parent: StageFolder | None  # of the stage that it goes on from


def starting_model(start: StageStart) -> "PreTrainedModel":
    """From the stage's checkpoint, else what the stage begins with."""
    return _load(start, start.folder.latest)


def first_model(start: StageStart) -> "PreTrainedModel":
    """The weights before the stage's first step: final or best ones of its parent, or the recipe's model."""
    return _load(start, None)


def _load(start: StageStart, checkpoint: Path | None) -> "PreTrainedModel":
    model = _weights(start, checkpoint)
    stop_at_end_tokens(model, start.tokenizer)
    embed_pad_as_any(model)
    return model


def _weights(start: StageStart, checkpoint: Path | None) -> "PreTrainedModel":
    recipe = start.recipe
    handed_on = _handed_on(start.parent, start.stage) if start.parent is not None else None
    if recipe.lora is not None:
        model = initial_model(recipe.model, start.config, recipe.seed)
        add_adapter(model, recipe.lora, recipe.seed, checkpoint or (handed_on and handed_on / ADAPTER))
        return model
    path = checkpoint or handed_on
    if path is not None:
        return load_model(path, trust_remote_code=recipe.model.trust_remote_code)
    return initial_model(recipe.model, start.config, recipe.seed)


def _handed_on(folder: StageFolder, stage: Stage) -> Path:
    if stage.init_weights == "final":
        return folder.final
    if folder.best is None:
        raise SFTKeyError(f"stage {stage.name!r}: init_weights is 'best', but {folder.path} holds no {BEST}STEP")
    return folder.best
