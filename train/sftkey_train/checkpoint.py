"""Checkpoints in Hugging Face layout, complete under their final name or not there at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sftkey_data.errors import SFTKeyError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

TRAINING_STATE = "training.pt"
PREFIX = "checkpoint-"


@dataclass(frozen=True, slots=True)
class StageFolder:
    """`OUT/STAGE`: at most one `checkpoint-STEP` while the stage runs, `final` once it is finished."""

    path: Path

    @property
    def final(self) -> Path:
        """The finished model; it exists exactly when the stage is finished."""
        return self.path / "final"

    @property
    def finished(self) -> bool:
        """Whether the stage has run to its end."""
        return self.final.is_dir()

    @property
    def latest_step(self) -> int:
        """The step after which the latest complete checkpoint was taken; 0 where there is none."""
        steps = (path.name.removeprefix(PREFIX) for path in self.path.glob(f"{PREFIX}*"))
        return max((int(step) for step in steps if step.isdigit()), default=0)

    @property
    def latest(self) -> Path | None:
        """The latest complete checkpoint."""
        return self.path / f"{PREFIX}{self.latest_step}" if self.latest_step else None


def save_checkpoint(folder: StageFolder, step: int, model: "PreTrainedModel", optimizer: "Optimizer") -> None:
    """Write all that is needed to go on from after `step`, then drop the checkpoint before it."""
    target = folder.path / f"{PREFIX}{step}"
    with appearing(target) as partial:
        model.save_pretrained(partial)
        state = {"step": step, "optimizer": optimizer.state_dict(), "rng": _random_state()}
        torch.save(state, partial / TRAINING_STATE)
    drop_checkpoints(folder, keep=target)


def restore_checkpoint(checkpoint: Path, optimizer: "Optimizer") -> int:
    """Put optimizer and random generators back to where a checkpoint was taken, and return its step."""
    state = torch.load(checkpoint / TRAINING_STATE, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"]["cpu"])
    if torch.cuda.is_available() and "cuda" in state["rng"]:
        torch.cuda.set_rng_state(state["rng"]["cuda"])
    return int(state["step"])


def drop_checkpoints(folder: StageFolder, keep: Path | None = None) -> None:
    """Delete the checkpoints of a stage but one, and what interrupted saves have left."""
    for path in [*folder.path.glob(f"{PREFIX}*"), *folder.path.glob("*.partial")]:
        if path != keep:
            shutil.rmtree(path)


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A directory to fill that takes the name `target` only once everything in it is on the disk."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for path in [*partial.rglob("*"), partial]:
        _sync(path)
    partial.rename(target)
    _sync(target.parent)


def refuse_unwritable(path: Path) -> None:
    """Refuse, before anything is computed, a directory that could not be made or written; nothing is left behind.

    Raises:
        SFTKeyError: Says what the system said.
    """
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".sftkey-", dir=existing):
            pass
    except OSError as error:
        raise SFTKeyError(f"out {path} cannot be written: {existing}: {error.strerror or error}") from None


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file by new content, so that a reader sees the old or the new one, whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content if isinstance(content, bytes) else content.encode())
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
