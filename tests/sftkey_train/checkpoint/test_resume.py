"""A run that was killed anywhere and started again ends bit for bit where an uninterrupted one does."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from some_slow import some_slow

from sftkey_train import recipe_run as run_module
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
PATIENCE_SECONDS = 120


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """The small recipe, long enough to be killed in, with dropout and held-out rows on the way."""
    tables |= {"heldout": tables["data"], "heldout_examples": 8}
    for stage in tables["stage"]:
        stage |= {"steps": 25, "save_every": 5, "eval_every": 10, "batch_size": 4}
    return tables


def _result(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Final weights of all stages, and the metrics but for what a clock has measured."""
    weights = {
        f"{path.parent.parent.name}/{name}": weight
        for path in sorted(out.glob("*/final/model.safetensors"))
        for name, weight in load_file(path).items()
    }
    rows = [dict(row) for row in MetricsLog(out / "metrics.jsonl").rows()]
    timed = ("seconds", "tokens_per_second", "flops_per_second")
    return weights, [{key: value for key, value in row.items() if key not in timed} for row in rows]


def _assert_same(one: Path, other: Path) -> None:
    (weights, rows), (other_weights, other_rows) = _result(one), _result(other)
    assert weights.keys() == other_weights.keys()
    assert [name for name in weights if not torch.equal(weights[name], other_weights[name])] == []
    assert rows == other_rows


def _uninterrupted(tables: dict[str, Any], write_recipe: Write) -> Path:
    out = Path(tables["out"]).with_name("uninterrupted")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={out}"])))
    return out


def _kill_at(recipe: Path, out: Path, stage: str, step: int) -> None:
    """Start the command and SIGKILL it as soon as the row of a step is written."""
    command = [sys.executable, "-m", "sftkey_train.cli", "run", str(recipe)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_SECONDS
    row = f'"kind": "train", "stage": "{stage}", "step": {step},'
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and row in (out / "metrics.jsonl").read_text():
            break
        time.sleep(0.001)
    process.kill()
    _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "lora", [None, pytest.param({"r": 2, "dropout": 0.1}, marks=pytest.mark.slow)], ids=["full", "lora"]
)
def test_sigkill_in_each_stage_and_running_again_ends_at_the_same_weights(
    lora: Any, tables: dict[str, Any], write_recipe: Write
) -> None:
    if lora:
        tables["lora"] = lora
    expected = _uninterrupted(tables, write_recipe)
    recipe, out = write_recipe(tables), Path(tables["out"])
    for stage in ("full", "answer"):
        before, after = random.randint(1, 3), random.randint(6, 17)  # around the first checkpoint, after step 5
        _kill_at(recipe, out, stage, before)
        assert list((out / stage).glob("checkpoint-*")) == [], f"killed at {before}"
        _kill_at(recipe, out, stage, after)
        assert len([path for path in (out / stage).glob("checkpoint-*") if path.suffix != ".partial"]) == 1
    command = [sys.executable, "-m", "sftkey_train.cli", "run", str(recipe)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split('"')[3] for line in finished.stdout.splitlines()] == ["full", "answer"]
    _assert_same(out, expected)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 2, "dropout": 0.1}], ids=["full", "lora"])
def test_ten_kills_at_random_steps_of_two_stages_change_nothing(
    lora: Any, tables: dict[str, Any], write_recipe: Write
) -> None:
    if lora:
        tables["lora"] = lora
    expected = _uninterrupted(tables, write_recipe)
    recipe, out = write_recipe(tables), Path(tables["out"])
    points = sorted(random.sample([(i, step) for i in range(2) for step in range(1, 25)], 10))
    for i, step in points:
        _kill_at(recipe, out, ("full", "answer")[i], step)
    subprocess.run([sys.executable, "-m", "sftkey_train.cli", "run", str(recipe)], capture_output=True, check=True)
    _assert_same(out, expected)


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


@pytest.mark.parametrize("num_rows", some_slow([1, 6, 14, 29, 57], quick=[29]), ids=lambda n: f"after_{n}_rows")
def test_stopping_after_any_row_changes_nothing(
    num_rows: int, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, reference: Path
) -> None:
    recipe = load_recipe(write_recipe(tables))
    written = 0
    append = MetricsLog.append

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        nonlocal written
        append(log, row)
        written += 1
        if written == num_rows:
            with log.path.open("a") as file:
                file.write('{"kind": "tra')  # as a kill in the middle of a write would leave it
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    list(run_recipe(recipe))
    _assert_same(recipe.out, reference)


@pytest.fixture(scope="module")
def references() -> dict[str, Path]:
    return {}


@pytest.fixture
def reference(tables: dict[str, Any], write_recipe: Write, references: dict[str, Path]) -> Path:
    """An uninterrupted run, made once for all tests of this file."""
    if "out" not in references:
        references["out"] = _uninterrupted(tables, write_recipe)
    return references["out"]


def test_stopping_as_soon_as_the_weights_are_there_changes_nothing(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, reference: Path
) -> None:
    recipe, finish = load_recipe(write_recipe(tables)), run_module.finish_stage

    def finish_and_stop(outputs: Any, model: Any) -> None:
        finish(outputs, model)
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish_stage", finish_and_stop)
        for _ in recipe.stages:
            with pytest.raises(_Stop):
                list(run_recipe(recipe))
    list(run_recipe(recipe))
    _assert_same(recipe.out, reference)
    assert (recipe.out / "loss.png").read_bytes() == (reference / "loss.png").read_bytes()


def test_stopping_between_last_checkpoint_and_final_changes_nothing(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, reference: Path
) -> None:
    recipe = load_recipe(write_recipe(tables))

    def stop(*_: object) -> None:
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish_stage", stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    assert (recipe.out / "full" / "checkpoint-25").is_dir()
    list(run_recipe(recipe))
    _assert_same(recipe.out, reference)


def test_what_an_interrupted_save_has_left_is_not_taken_for_a_checkpoint(
    tables: dict[str, Any], write_recipe: Write, reference: Path
) -> None:
    recipe = load_recipe(write_recipe(tables))
    for name in (".checkpoint-5.12-0123abcd.partial", ".final.12-0123abcd.partial"):
        (recipe.out / "full" / name).mkdir(parents=True)
        (recipe.out / "full" / name / "model.safetensors").write_bytes(b"half")
    (recipe.out / "run.json").write_bytes((reference / "run.json").read_bytes())
    list(run_recipe(recipe))
    _assert_same(recipe.out, reference)
    assert sorted(path.name for path in (recipe.out / "full").iterdir()) == ["final"]
