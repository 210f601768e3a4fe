"""Weights of another run or stage, and damaged checkpoints, are refused in one line before the first step."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_train import run as run_module
from sftkey_train.cli import main
from sftkey_train.recipe_file import load_recipe
from sftkey_train.run import run_recipe

Write = Callable[[dict[str, Any]], Path]
MEND = "move or delete it, or start anew with --overwrite"


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


@pytest.fixture
def stopped(tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that runs the recipe into a directory, up to the last checkpoint of a stage."""

    def stop_at(stage: str, out: Path, *overrides: str) -> Path:
        finish = run_module.finish_stage

        def stop(outputs: Any, model: Any) -> None:
            if outputs.folder.path.name == stage:
                raise _Stop
            finish(outputs, model)

        with monkeypatch.context() as patch:
            patch.setattr(run_module, "finish_stage", stop)
            with pytest.raises(_Stop):
                list(run_recipe(load_recipe(write_recipe(tables), [f"out={out}", *overrides])))
        return next((out / stage).glob("checkpoint-*"))

    return stop_at


@pytest.fixture
def refused(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Runs the command again, which is refused, and returns its one line; no file of the run is touched."""

    def call() -> str:
        out = Path(tables["out"])
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables))])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        assert (caught.value.code, printed.out) == (1, "")
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
        assert printed.err.count("\n") == 1
        return printed.err.removeprefix("error: ").removesuffix("\n")

    return call


def _replace(target: Path, source: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


@pytest.mark.parametrize("change", ["stage.full.lr=1e-4", "seed=9", "model.config.attention_dropout=0.2"])
def test_a_checkpoint_of_another_recipe(
    change: str, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    own, other = stopped("full", Path(tables["out"])), stopped("full", Path(tables["out"] + "-other"), change)
    _replace(own, other)
    assert refused() == f"{own} is of another recipe or other data than this run; {MEND}"


def test_a_checkpoint_of_other_data(
    stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any], straddling_dir: Path
) -> None:
    own = stopped("full", Path(tables["out"]))
    _replace(own, stopped("full", Path(tables["out"] + "-other"), f"data={straddling_dir}"))
    assert refused() == f"{own} is of another recipe or other data than this run; {MEND}"


def test_a_checkpoint_of_another_stage(
    stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    own = stopped("answer", Path(tables["out"]))
    _replace(own, stopped("full", Path(tables["out"] + "-other")))
    assert refused() == f"{own} is of stage 'full', expected one of stage 'answer'; {MEND}"


def test_the_result_of_another_recipe(
    stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    stopped("answer", Path(tables["out"]))
    other = Path(tables["out"] + "-other")
    stopped("answer", other, "stage.full.lr=1e-4")
    final = Path(tables["out"]) / "full" / "final"
    _replace(final, other / "full" / "final")
    assert refused() == f"{final} is of another recipe or other data than this run; {MEND}"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
@pytest.mark.parametrize(
    ("lora", "name"),
    [(None, "model.safetensors"), (None, "training.pt"), ({"r": 2}, "adapter_model.safetensors")],
    ids=["model", "training", "adapter"],
)
def test_a_damaged_file_of_a_checkpoint(
    lora: Any, name: str, damage: str, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    tables |= {"lora": lora} if lora else {}
    own = stopped("full", Path(tables["out"]), "stage.full.steps=2")
    tables["stage"][0]["steps"] = 2
    content = bytearray((own / name).read_bytes())
    if damage == "gone":
        (own / name).unlink()
    else:
        content[len(content) // 2] ^= 1
        (own / name).write_bytes({"cut": content[:-1], "flipped": content, "empty": b""}[damage])
    found = "is missing" if damage == "gone" else "is not as it was written"
    assert refused() == f"{own} is damaged: {name} {found}; {MEND}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no origin.json, so it is of no run that can be told"),
        ("{", "is damaged: origin.json cannot be read"),
        ("[]", "is damaged: origin.json cannot be read"),
        ("{}", "is damaged: origin.json cannot be read"),
        ('{"files": []}', "is damaged: origin.json cannot be read"),
    ],
)
def test_a_record_of_the_origin_that_says_nothing(
    content: str | None, message: str, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    own = stopped("full", Path(tables["out"]))
    (own / "origin.json").unlink()
    if content is not None:
        (own / "origin.json").write_text(content)
    assert refused() == f"{own} {message}; {MEND}"


def test_without_the_damaged_checkpoint_the_run_goes_on_from_the_one_before(
    stopped: Callable[..., Path], tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["stage"][0]["keep_last"] = 2
    out = Path(tables["out"])
    stopped("full", out)
    (out / "full" / "checkpoint-6" / "training.pt").unlink()
    with pytest.raises(SFTKeyError, match=r"checkpoint-6 is damaged: training.pt is missing"):
        list(run_recipe(load_recipe(write_recipe(tables))))
    shutil.rmtree(out / "full" / "checkpoint-6")
    assert [summary["steps"] for summary in run_recipe(load_recipe(write_recipe(tables)))] == [6, 4]


def test_a_run_may_move_between_its_stages_and_files_may_be_put_beside_its_results(
    stopped: Callable[..., Path], tables: dict[str, Any], write_recipe: Write
) -> None:
    out = Path(tables["out"])
    stopped("answer", out)
    (out / "full" / "final" / "README.md").write_text("mine")
    config = out / "full" / "final" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"note": "mine"}))
    moved = out.with_name("moved")
    out.rename(moved)
    assert len(list(run_recipe(load_recipe(write_recipe(tables), [f"out={moved}"])))) == 2
