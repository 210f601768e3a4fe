"""What a trainer with region weights refuses before it begins: settings that would change its loss unseen."""

from collections.abc import Mapping
from typing import Any

import transformers
from transformers import Trainer

from sftkey_data.errors import SFTKeyError

_USUAL: Mapping[str, Any] = {
    "packing": False,
    "eval_packing": None,
    "padding_free": False,
    "label_smoothing_factor": 0.0,
    "loss_type": "nll",
    "assistant_only_loss": False,
}
"""Arguments, TRL's among them, that must be as they are by default, or false."""


def refuse_trainer(base: Any) -> None:
    """Refuse what is no trainer class, and versions of transformers that would divide the loss once more.

    Raises:
        SFTKeyError: Says which.
    """
    if not (isinstance(base, type) and issubclass(base, Trainer)):
        raise SFTKeyError(f"with_region_weights: found {base!r}, expected transformers.Trainer or a class below it")
    if not hasattr(Trainer, "loss_is_scaled_for_ga"):
        found = transformers.__version__
        raise SFTKeyError(f"transformers {found} has no Trainer.loss_is_scaled_for_ga, expected a newer version")


def refuse_arguments(args: Any, given: Mapping[str, Any]) -> None:
    """Refuse arguments of a trainer that do not go with region weights.

    Raises:
        SFTKeyError: Names the argument, what it is and what is expected.
    """
    if args is None:
        raise SFTKeyError("args is missing, expected the TrainingArguments or SFTConfig of the trainer")
    for name, usual in _USUAL.items():
        if (found := getattr(args, name, usual)) not in (usual, False):
            raise SFTKeyError(f"{name} is {found!r}, expected {usual!r}: the loss is that of the region weights")
    for name in ("compute_loss_func", "formatting_func", "model_init"):
        if given.get(name) is not None:
            raise SFTKeyError(f"{name} is given, expected none: loss and texts are those of the prepared folder")
    if args.n_gpu > 1:
        raise SFTKeyError(f"{args.n_gpu} GPUs in one process: start one process each, with torchrun")


def refuse_model(model: Any) -> None:
    """Refuse a model that adds a loss of its own, which would be left out.

    Raises:
        SFTKeyError: Says what to set.
    """
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        raise SFTKeyError(
            "the model has output_router_logits = true, and its router loss is no part of this: set it to false, or "
            "train with sftkey-train run"
        )
