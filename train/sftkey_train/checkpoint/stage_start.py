"""The model that a stage starts from: its own checkpoint, what the stage before has left, or the recipe's model."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sftkey_data.errors import SFTKeyError
from sftkey_train.checkpoint.checkpoint import BEST, StageFolder
from sftkey_train.checkpoint.origin import check_origin, model_hash
from sftkey_train.checkpoint.stage_outputs import ADAPTER
from sftkey_train.loss.anchor import frozen
from sftkey_train.model.adapter_merge import check_merges
from sftkey_train.model.added_tokens import check_added_are_trained, embed_added_tokens
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.model import embed_pad_as_any, initial_model, load_model, stop_at_end_tokens
from sftkey_train.model.quantization import FourBits
from sftkey_train.model.sharding import gathers_in_half
from sftkey_train.model.share_loading import load_in_shares
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
    model_hash: str | None  # of the recipe's model where that is a folder, as the run began with it
    device: torch.device  # where a model in 4 bits, or one in shares, is loaded to
    in_shares: bool  # whether each process holds a share of the model

    @property
    def handed_on(self) -> Path | None:
        """The model of the stage before that this one begins with; None where it begins with the recipe's."""
        if self.parent is None or self.stage.init_weights == "final":
            return None if self.parent is None else self.parent.final
        if self.parent.best is None:
            raise SFTKeyError(
                f"stage {self.stage.name!r}: init_weights is 'best', but {self.parent.path} holds no {BEST}STEP"
            )
        return self.parent.best


def check_handed_on(starts: Iterable[StageStart]) -> None:
    """Refuse models of finished stages, from which others are yet to start, that are not as they were written.

    Raises:
        SFTKeyError: One line that names the file.
    """
    checked = set()
    for start in starts:
        if start.folder.finished or start.parent is None or not start.parent.finished:
            continue
        if (path := start.handed_on) is not None and path not in checked:
            check_origin(path, start.parent.origin, files=True)
            checked.add(path)


def check_start(start: StageStart) -> None:
    """Refuse what a stage is about to load, the stage before's model or the recipe's, where it has changed meanwhile.

    Raises:
        SFTKeyError: One line that says which.
    """
    check_handed_on([start])
    model = start.recipe.model.path
    reads_model = start.parent is None or start.recipe.lora is not None
    if reads_model and model is not None and start.model_hash is not None and hash_of(model) != start.model_hash:
        raise SFTKeyError(f"stage {start.stage.name!r}: model {model!r} is no more what it was when the run began")


def hash_of(model: str) -> str | None:
    """Hash of a model in a folder; None of one of the hub, which the name of its commit stands for."""
    return model_hash(Path(model)) if Path(model).is_dir() else None


def starting_model(start: StageStart) -> "PreTrainedModel":
    """From the stage's checkpoint, else what the stage begins with."""
    return _load(start, start.folder.latest, learns=True)


def first_model(start: StageStart) -> "PreTrainedModel":
    """The weights before the stage's first step, frozen: final or best ones of its parent, or the recipe's model."""
    return frozen(_load(start, None, learns=False))


def _load(start: StageStart, checkpoint: Path | None, *, learns: bool) -> "PreTrainedModel":
    model = _in_shares(start, checkpoint, learns=learns)
    if model is None:
        model = _weights(start, checkpoint)
    stop_at_end_tokens(model, start.tokenizer)
    embed_pad_as_any(model)
    return model


def _in_shares(start: StageStart, checkpoint: Path | None, *, learns: bool) -> "PreTrainedModel | None":
    """The model of which each process has read its share; None where it must be whole first, to be changed or made."""
    recipe = start.recipe
    stored = checkpoint or start.handed_on or (None if recipe.model.tags_as_tokens else recipe.model.path)
    if not start.in_shares or stored is None or recipe.lora is not None or recipe.model.trust_remote_code:
        return None
    half = gathers_in_half(recipe.precision, recipe.lora)
    return load_in_shares(stored, attention=recipe.attention, half=half, learns=learns, device=start.device)


def _weights(start: StageStart, checkpoint: Path | None) -> "PreTrainedModel":
    recipe = start.recipe
    handed_on = start.handed_on
    if recipe.lora is not None:
        four_bits = FourBits(recipe.precision, start.device) if recipe.lora.quantization else None
        model = _first(start, four_bits)
        add_adapter(model, recipe.lora, recipe.seed, checkpoint or (handed_on and handed_on / ADAPTER))
        if recipe.model.tags_as_tokens:
            check_added_are_trained(model)
        check_merges(model)
        return model
    path = checkpoint or handed_on
    if path is not None:
        return load_model(path, trust_remote_code=recipe.model.trust_remote_code, attention=recipe.attention)
    return _first(start)


def _first(start: StageStart, four_bits: FourBits | None = None) -> "PreTrainedModel":
    """The recipe's model, with room for the tokens of the data."""
    source = start.recipe.model
    model = initial_model(source, start.config, start.recipe.seed, four_bits, start.recipe.attention)
    if source.tags_as_tokens and source.path is not None:
        embed_added_tokens(model, source.path, start.tokenizer)
    return model
