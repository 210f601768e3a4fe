"""Checkpoints in Hugging Face layout, complete under their final name or not there at all."""

import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.appearing import appearing_folder, is_own_partial, remove_folder
from sftkey_train import ranks
from sftkey_train.checkpoint.origin import MEND, ORIGIN, Origin, check_origin, has_origin, write_origin, written_files
from sftkey_train.model.lora import save_weights
from sftkey_train.model.sharding import load_optimizer_state, whole_optimizer_state, whole_state

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

TRAINING_STATE = "training.pt"
PREFIX, BEST, FINAL = "checkpoint-", "best-", "final"
_WEIGHTS = re.compile(rf"({PREFIX}|{BEST})\d+|{FINAL}")


@dataclass(frozen=True, slots=True)
class StageFolder:
    """`OUT/STAGE`: some `checkpoint-STEP` while the stage runs, `final` once it is finished, perhaps a `best-STEP`."""

    path: Path
    origin: Origin  # of all that is in it

    @property
    def final(self) -> Path:
        """The finished model; it exists exactly when the stage is finished."""
        return self.path / FINAL

    @property
    def finished(self) -> bool:
        """Whether the stage has run to its end."""
        return self.final.is_dir()

    @property
    def best(self) -> Path | None:
        """The model that the stage's metric prefers so far; None where none is kept."""
        kept = [path for path in self.path.glob(f"{BEST}*") if path.name.removeprefix(BEST).isdigit()]
        # Two are there where a run was killed between writing the new one and dropping the old.
        return max(kept, key=lambda path: int(path.name.removeprefix(BEST)), default=None)

    @property
    def latest_step(self) -> int:
        """The step after which the latest complete checkpoint was taken; 0 where there is none."""
        return max(self.steps(), default=0)

    @property
    def latest(self) -> Path | None:
        """The latest complete checkpoint."""
        return self.checkpoint(self.latest_step) if self.latest_step else None

    def checkpoint(self, step: int) -> Path:
        """The checkpoint after `step`, whether it is there or not."""
        return self.path / f"{PREFIX}{step}"

    def weights(self) -> list[Path]:
        """All that stands under the names of what a run writes, whoever has put it there."""
        return sorted(path for path in self.path.glob("*") if _WEIGHTS.fullmatch(path.name))

    def steps(self) -> list[int]:
        """The steps after which the complete checkpoints were taken, in order."""
        steps = (path.name.removeprefix(PREFIX) for path in self.path.glob(f"{PREFIX}*"))
        return sorted(int(step) for step in steps if step.isdigit())


def save_checkpoint(
    folder: StageFolder, step: int, model: "PreTrainedModel", optimizer: "Optimizer", keep_last: int = 1
) -> None:
    """Write all that is needed to go on from after `step`, then drop all but the last `keep_last` checkpoints.

    Raises:
        SFTKeyError: It could not be written, for example as the disk is full; earlier checkpoints are as they were.
    """
    # Before the other ranks leave: gathering takes all of them, and the first would wait for ever.
    random_states, weights = ranks.gather(_random_state()), whole_state(model)
    optimizer_state = whole_optimizer_state(optimizer)
    if not ranks.is_main():
        return
    with saving(folder.checkpoint(step)) as partial:
        save_weights(model, weights, partial)
        state = {"step": step, "optimizer": optimizer_state, "rng": random_states}
        torch.save(state, partial / TRAINING_STATE)
        write_origin(partial, folder.origin)  # last: it holds the hashes of all files before it
    drop_checkpoints(folder, keep=[folder.checkpoint(step) for step in folder.steps()[-keep_last:]])


def restore_checkpoint(checkpoint: Path, optimizer: "Optimizer") -> int:
    """Put optimizer and random generators back to where a checkpoint was taken, and return its step.

    Raises:
        SFTKeyError: It was taken by another number of ranks, each of which has random numbers of its own.
    """
    # To the CPU: the states of random generators must lie there, those of GPUs too. Weights only: no code from pickles.
    state = torch.load(checkpoint / TRAINING_STATE, map_location="cpu", weights_only=True)
    if (found := len(state["rng"])) != ranks.num_ranks():
        raise SFTKeyError(
            f"{checkpoint} was taken by {found} ranks, found {ranks.num_ranks()}; expected the same number"
        )
    load_optimizer_state(optimizer, state["optimizer"])
    random_state = state["rng"][ranks.rank()]
    torch.set_rng_state(random_state["cpu"])
    if torch.cuda.is_available() and "cuda" in random_state:
        torch.cuda.set_rng_state(random_state["cuda"])
    return int(state["step"])


def check_folder(folder: StageFolder) -> None:
    """Refuse, before anything is computed, weights of another run or stage, and a damaged checkpoint.

    Raises:
        SFTKeyError: One line; nothing of the stage's folder is touched.
    """
    for weights in _results(folder):
        check_origin(weights, folder.origin, files=False)  # a user may have put something beside the weights
    if not folder.finished and folder.latest is not None:
        check_origin(folder.latest, folder.origin, files=True)


def check_results(folder: StageFolder) -> None:
    """Refuse a finished stage whose weights are not as they were written; what was put beside them may be there.

    Raises:
        SFTKeyError: One line.
    """
    for weights in _results(folder):
        written_files(weights, MEND)


def _results(folder: StageFolder) -> list[Path]:
    return [path for path in (folder.final if folder.finished else None, folder.best) if path is not None]


def drop_checkpoints(folder: StageFolder, keep: Collection[Path] = ()) -> None:
    """Delete the checkpoints of a stage but those to keep, and what interrupted saves have left."""
    drop_weights(folder, keep=[path for path in folder.weights() if path in keep or not path.name.startswith(PREFIX)])


def drop_weights(folder: StageFolder, keep: Collection[Path] = ()) -> None:
    """Delete what a run has written to a stage's folder but what is to be kept; what is not of a run stays."""
    for path in folder.weights():
        if path not in keep and has_origin(path):
            remove_folder(path)
    for path in folder.path.glob(".*"):
        if is_own_partial(path.name):
            shutil.rmtree(path, ignore_errors=True)


def refuse_foreign(folders: Iterable[StageFolder]) -> None:
    """Refuse stages' folders where something stands in the place of weights that no run has written.

    Raises:
        SFTKeyError: One line; it would not be deleted.
    """
    for folder in folders:
        for path in folder.weights():
            if not has_origin(path):
                raise SFTKeyError(f"{path} was not written by a run, as it has no {ORIGIN}; move it away")


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


@contextmanager
def saving(target: Path) -> Iterator[Path]:
    """A folder to save weights to, which takes the name `target` once everything in it is on the disk.

    Raises:
        Interrupted: Something in it could not be written; what was written is deleted again.
    """
    try:
        with appearing_folder(target) as partial:
            try:
                yield partial
            except (RuntimeError, SafetensorError) as error:  # of torch and safetensors, for a full disk too
                said = (str(error) or type(error).__name__).splitlines()[0]
                raise Interrupted(f"{target} cannot be written: {said}") from error
    except Interrupted as error:
        raise Interrupted(f"{error}; what was there before is kept, the same command goes on from it") from error


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
