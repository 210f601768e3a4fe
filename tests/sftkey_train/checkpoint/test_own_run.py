"""A run replaces and removes what runs have written, and nothing else; one process at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import another_process, run_together

from sftkey_data.errors import SFTKeyError
from sftkey_train.checkpoint.checkpoint import StageFolder, drop_checkpoints
from sftkey_train.checkpoint.earlier_run import delete_run, refuse_other_run
from sftkey_train.checkpoint.origin import ORIGIN, Origin
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
OURS = ("checkpoint-2", "checkpoint-4", "best-2", "final", ".checkpoint-6.12-0123abcd.partial")
THEIRS = ("checkpoint-notes", "checkpoint-9", "my.partial", "best-of", "notes")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run as it lies on a disk, among folders of a user's."""
    out = tmp_path / "out"
    for name in (*OURS, *THEIRS):
        (out / "full" / name).mkdir(parents=True)
        (out / "full" / name / (ORIGIN if name in OURS else "thesis.tex")).touch()
    (out / "run.json").write_text(json.dumps({"recipe": {"stage": [{"name": "full"}]}}))
    (out / "metrics.jsonl").touch()
    return out


def test_a_second_run_is_refused_until_the_first_is_gone(tables: dict[str, Any], write_recipe: Write) -> None:
    recipe, out = load_recipe(write_recipe(tables)), Path(tables["out"])
    for overwrite in (False, True):
        with another_process(out), pytest.raises(SFTKeyError, match=f"{out}: another process is writing it"):
            list(run_recipe(recipe, overwrite=overwrite))
    first = list(run_recipe(recipe))
    (out / ".sftkey").unlink()  # as of a run that was begun before folders were marked
    assert list(run_recipe(recipe)) == first


def expect_refusal(recipe: Path, out: str) -> None:
    """What each rank does, and how it ends."""
    with pytest.raises(SFTKeyError, match=f"{out}: another process is writing it"):
        list(run_recipe(load_recipe(recipe)))


@pytest.mark.slow
def test_each_rank_says_that_another_process_writes(tables: dict[str, Any], write_recipe: Write) -> None:
    with another_process(Path(tables["out"])):
        assert run_together(2, expect_refusal, write_recipe(tables), tables["out"]) == [0, 0]


def test_a_folder_of_a_users_is_neither_marked_nor_changed(tables: dict[str, Any], write_recipe: Write) -> None:
    (Path(tables["out"]) / "full" / "final").mkdir(parents=True)
    (Path(tables["out"]) / "full" / "final" / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(SFTKeyError, match=r"is not empty and not written by sftkey, found full"):
            list(run_recipe(load_recipe(write_recipe(tables)), overwrite=overwrite))
    assert files(Path(tables["out"])) == ["full/final/thesis.tex"]


def test_deleting_a_run_leaves_what_no_run_has_written(earlier: Path) -> None:
    delete_run(earlier)
    assert files(earlier) == sorted(f"full/{name}/thesis.tex" for name in THEIRS)


def test_dropping_checkpoints_leaves_what_no_run_has_written(earlier: Path) -> None:
    folder = StageFolder(earlier / "full", Origin("", "full"))
    drop_checkpoints(folder, keep=[folder.checkpoint(4)])
    left = [f"{name}/{ORIGIN}" for name in ("best-2", "checkpoint-4", "final")]
    assert files(earlier / "full") == sorted([*left, *(f"{name}/thesis.tex" for name in THEIRS)])


def test_overwriting_is_refused_where_something_else_is_in_the_place_of_weights(earlier: Path) -> None:
    before = files(earlier)
    with pytest.raises(SFTKeyError, match=r"checkpoint-9 was not written by a run, as it has no origin\.json"):
        refuse_other_run(earlier, {}, [], overwrite=True)
    assert files(earlier) == before


@pytest.mark.parametrize("name", ["../elsewhere", ".", ""])  # nothing that leads out of tmp_path: it would be deleted
def test_a_record_whose_stage_lies_elsewhere_is_no_record(earlier: Path, name: str) -> None:
    (earlier.parent / "elsewhere" / "final").mkdir(parents=True)
    (earlier.parent / "elsewhere" / "final" / ORIGIN).touch()
    (earlier / "run.json").write_text(json.dumps({"recipe": {"stage": [{"name": name}]}}))
    before = files(earlier.parent)
    for delete in (delete_run, lambda out: refuse_other_run(out, {}, [], overwrite=True)):
        with pytest.raises(SFTKeyError, match=r"run\.json is damaged"):
            delete(earlier)
    assert files(earlier.parent) == before
