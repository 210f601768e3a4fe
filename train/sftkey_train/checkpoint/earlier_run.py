"""An earlier invocation on the same directory: gone on with if it is the same run, refused if not, deleted if asked."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_data.storage.appearing import is_own_partial
from sftkey_data.storage.own_output import OUR_MARKER, own_folder
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_train import ranks
from sftkey_train.checkpoint.checkpoint import (
    StageFolder,
    check_folder,
    check_results,
    drop_weights,
    refuse_foreign,
    refuse_unwritable,
)
from sftkey_train.checkpoint.origin import Origin
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_tables import FOLDER_NAME
from sftkey_train.signals import StopSignals

RUN, METRICS, PLOT = "run.json", "metrics.jsonl", "loss.png"
USED = "used"
"""In `run.json`, beside what must not change within a run: what was used of what the machine offers."""


class OtherRunError(SFTKeyError):
    """A folder holds a run of another recipe; `difference` says where they differ first."""

    def __init__(self, out: Path, difference: str) -> None:
        super().__init__(f"out {out} holds a run of another recipe: {difference}; --overwrite starts anew")
        self.difference = difference


@contextmanager
def own_run(out: Path) -> Iterator[None]:
    """Hold the folder of a run, marked as ours; of several ranks the first one holds it for all.

    Raises:
        SFTKeyError: On every rank: it holds something else, or another process writes it.
    """
    with ExitStack() as held:
        refused = ""
        if ranks.is_main():
            try:
                held.enter_context(own_folder(out, _is_run))
            except SFTKeyError as error:
                refused = str(error)
        if refused := ranks.gather(refused)[0]:
            raise SFTKeyError(refused)
        yield


def _is_run(out: Path) -> bool:
    """Whether a run lies there, also one that was begun before folders were marked."""
    return (out / RUN).is_file() and bool(_earlier(out / RUN))


def refuse_other_run(out: Path, record: Mapping[str, Any], folders: Sequence[StageFolder], *, overwrite: bool) -> None:
    """Check `out`, and what lies there of each stage, against the recipe.

    Args:
        out: Directory of the run.
        record: What must not change within a run.
        folders: Those of its stages.
        overwrite: A run of any recipe may lie there.

    Raises:
        OtherRunError: It holds a run of another recipe.
        SFTKeyError: It holds something else, or is damaged, or cannot be written.
    """
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    found = [name for name in names if name != OUR_MARKER and not is_own_partial(name)]
    if out.exists() and not out.is_dir():
        raise SFTKeyError(f"out {out} is a file, expected a folder")
    if not names:
        refuse_unwritable(out)
    if not found:
        return
    if not (out / RUN).exists():
        raise SFTKeyError(f"out {out} is not empty and holds no earlier run ({RUN}), found {found[0]}")
    earlier = {key: value for key, value in _earlier(out / RUN).items() if key != USED}
    difference = None if overwrite else first_difference(earlier, record)
    if difference is not None:
        raise OtherRunError(out, difference)
    if overwrite:
        refuse_foreign([*folders, *_stage_folders(out, earlier)])
        return
    for folder in folders:
        check_folder(folder)
    if all(folder.finished for folder in folders):  # nothing is trained, so nothing else would look at the weights
        for folder in folders:
            check_results(folder)


def record_sha256(record: Mapping[str, Any]) -> str:
    """SHA-256 of what must not change within a run, in hex; without `out`, so that a run can be moved."""
    recipe = {key: value for key, value in record["recipe"].items() if key != "out"}
    return hashlib.sha256(json.dumps({**record, "recipe": recipe}, sort_keys=True).encode()).hexdigest()


def _earlier(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = read_sealed(path, "")
        if all(re.fullmatch(FOLDER_NAME, stage["name"]) for stage in record["recipe"]["stage"]):
            return record
    except (SFTKeyError, KeyError, TypeError):
        pass
    raise SFTKeyError(f"{path} is damaged, so what lies beside it cannot be told; name another out")


def _stage_folders(out: Path, record: Mapping[str, Any]) -> list[StageFolder]:
    return [StageFolder(out / stage["name"], Origin("", stage["name"])) for stage in record["recipe"]["stage"]]


def first_difference(earlier: Any, now: Any, place: str = "") -> str | None:
    """Where two JSON values first differ, as `recipe.stage.0.lr was 0.1, now 0.2`; the `out` itself may move."""
    if place == "recipe.out" or earlier == now:
        return None
    if isinstance(earlier, list) and isinstance(now, list):
        earlier, now = dict(enumerate(earlier)), dict(enumerate(now))
    if not (isinstance(earlier, Mapping) and isinstance(now, Mapping)):
        return f"{place} was {json.dumps(earlier)}, now {json.dumps(now)}"
    for key in [*now, *(key for key in earlier if key not in now)]:
        below = f"{place}.{key}".lstrip(".")
        if (difference := first_difference(earlier.get(key), now.get(key), below)) is not None:
            return difference
    return None


@contextmanager
def stopping(recipe: Recipe, *, overwrite: bool) -> Iterator[StopSignals]:
    """Take SIGINT and SIGTERM, and say what is kept of a run where one ends it.

    Raises:
        Stopped: One did.
    """
    with StopSignals() as signals:
        try:
            yield signals
        except KeyboardInterrupt:
            command = "the same command without --overwrite" if overwrite else "the same command"
            folders = [StageFolder(recipe.out / stage.name, Origin("", stage.name)) for stage in recipe.stages]
            raise Stopped(_what_is_kept(folders, command), signals.code) from None


def _what_is_kept(folders: Sequence[StageFolder], command: str) -> str:
    """As it lies on the disk."""
    for folder in folders:
        name = folder.path.name
        if not folder.finished and folder.latest_step:
            return f"stage {name!r} is saved after step {folder.latest_step}, {command} goes on from there"
        if not folder.finished:
            before = "" if folder is folders[0] else "; the stages before it are finished"
            return f"nothing of stage {name!r} is saved, {command} begins it anew{before}"
    return "all stages are finished"


def delete_run(out: Path) -> None:
    """Delete the files of a run and nothing else; the record goes last, so that a killed deletion can be repeated."""
    if not (out / RUN).exists():
        return
    for folder in _stage_folders(out, _earlier(out / RUN)):
        drop_weights(folder)
        with suppress(OSError):  # not there, or something else is in it too
            folder.path.rmdir()
    for name in (METRICS, PLOT, RUN):
        (out / name).unlink(missing_ok=True)
