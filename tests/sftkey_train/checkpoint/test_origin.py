"""Weights of another run or stage, and damaged checkpoints, are refused in one line before the first step."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_train import recipe_run as run_module
from sftkey_train.cli import main
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

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
        (None, "has no origin.json, so it is of no run that can be told; move it away"),
        ("{", f"is damaged: origin.json cannot be read; {MEND}"),
        ("[]", f"is damaged: origin.json cannot be read; {MEND}"),
        ("{}", f"is damaged: origin.json cannot be read; {MEND}"),
        ('{"files": []}', f"is damaged: origin.json cannot be read; {MEND}"),
    ],
)
def test_a_record_of_the_origin_that_says_nothing(
    content: str | None, message: str, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    own = stopped("full", Path(tables["out"]))
    (own / "origin.json").unlink()
    if content is not None:
        (own / "origin.json").write_text(content)
    assert refused() == f"{own} {message}"


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
    moved = out.with_name("moved")
    out.rename(moved)
    assert len(list(run_recipe(load_recipe(write_recipe(tables), [f"out={moved}"])))) == 2


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # in the weights or in the last value: what is read stays readable
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_flipped_bit_in_what_stage_1_has_left_is_refused_before_stage_2(
    name: str, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    out = Path(tables["out"])
    shutil.rmtree(stopped("answer", out))  # so that stage 2 starts anew
    _flip(out / "full" / "final" / name)
    assert refused() == f"{out / 'full' / 'final'} is damaged: {name} is not as it was written; {MEND}"


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer_config.json"])
def test_a_flipped_bit_in_the_result_of_a_finished_run_is_refused(
    file: str, tables: dict[str, Any], write_recipe: Write, refused: Callable[[], str]
) -> None:
    list(run_recipe(load_recipe(write_recipe(tables))))
    final = Path(tables["out"]) / "answer" / "final"
    content = bytearray((final / file).read_bytes())
    content[-20] ^= 1
    (final / file).write_bytes(content)
    assert refused() == f"{final} is damaged: {file} is not as it was written; {MEND}"


def test_an_adapter_put_beside_what_stage_1_has_left_is_refused(
    stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any]
) -> None:
    stopped("answer", Path(tables["out"]))
    final = Path(tables["out"]) / "full" / "final"
    (final / "adapter_config.json").write_text("{}")
    assert refused() == f"{final} holds adapter_config.json, which was not written with it; {MEND}"


def test_stage_1_changed_while_another_arm_trains_is_refused_before_the_next_arm(
    tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["stage"].append({**tables["stage"][1], "name": "arm", "init_from": "full"})
    summaries = run_recipe(load_recipe(write_recipe(tables)))
    assert [next(summaries)["stage"], next(summaries)["stage"]] == ["full", "answer"]
    final = Path(tables["out"]) / "full" / "final"
    _flip(final / "model.safetensors")
    with pytest.raises(SFTKeyError, match=r"final is damaged: model.safetensors is not as it was written"):
        next(summaries)
    assert not (Path(tables["out"]) / "arm").exists()


@pytest.mark.parametrize("lora", [None, {"r": 2}], ids=["full", "lora"])
def test_a_base_model_that_has_changed_between_two_invocations(
    lora: Any, stopped: Callable[..., Path], refused: Callable[[], str], tables: dict[str, Any], model_dir: Path
) -> None:
    tables |= {"model": {"path": str(model_dir)}} | ({"lora": lora} if lora else {})
    stopped("full", Path(tables["out"]))
    _flip(model_dir / "model.safetensors")
    line = refused()
    assert line.startswith(f"out {tables['out']} holds a run of another recipe: model_hash was ")
    assert line.endswith("; --overwrite starts anew")


def test_a_base_model_that_changes_between_two_stages_which_both_read_it(
    tables: dict[str, Any], write_recipe: Write, model_dir: Path
) -> None:
    tables |= {"model": {"path": str(model_dir)}, "lora": {"r": 2}}
    summaries = run_recipe(load_recipe(write_recipe(tables)))
    next(summaries)
    _flip(model_dir / "model.safetensors")
    expected = f"stage 'answer': model '{model_dir}' is no more what it was when the run began"
    with pytest.raises(SFTKeyError) as caught:
        next(summaries)
    assert str(caught.value) == expected


def test_a_run_from_the_damaged_result_of_another_run(
    stopped: Callable[..., Path], fail: Callable[..., str], tables: dict[str, Any], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    stopped("answer", other)
    final = other / "full" / "final"
    tables["model"] = {"path": str(final)}
    _flip(final / "model.safetensors")
    mend = "a model that was changed on purpose goes without its origin.json"
    assert fail() == f"{final} is damaged: model.safetensors is not as it was written; {mend}"
