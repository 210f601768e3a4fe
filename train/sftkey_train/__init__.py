"""The lean two-stage training loop: prepared shards and a recipe in, Hugging Face checkpoints out."""

from typing import TYPE_CHECKING

from sftkey_data.interface.lazy_names import lazy_names

if TYPE_CHECKING:
    from sftkey_train.api import TrainedRun, run

__all__ = ["TrainedRun", "run"]
__getattr__, __dir__ = lazy_names(
    __name__, {"api": ("TrainedRun", "run")}, extra="train", needs=("matplotlib", "pandas", "torch")
)
