"""What every stage says when it ends: how often what the model wrote by itself was valid and right."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from sftkey_train import loop
from sftkey_train import recipe_run as run_module
from sftkey_train.checkpoint.origin import ORIGIN
from sftkey_train.checkpoint.stage_outputs import RECIPE
from sftkey_train.cli import main
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]


class _Stop(Exception):  # noqa: N818 - no fault
    pass


def _stop(*_: object) -> None:
    raise _Stop


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """As most recipes are: nothing is said of generating."""
    for stage in tables["stage"]:
        del stage["generate_at_end"]
        stage |= {"generate_examples": 3, "generate_max_new_tokens": 4}
    return tables


def _generated(tables: dict[str, Any]) -> list[tuple[str, int]]:
    rows = MetricsLog(Path(tables["out"]) / "metrics.jsonl").rows()
    return [(row["stage"], row["step"]) for row in rows if row["kind"] == "generated"]


@pytest.mark.parametrize(("heldout", "of"), [(True, "held-out"), (False, "training")])
def test_a_stage_ends_with_what_the_model_writes(
    heldout: bool,
    of: str,
    tables: dict[str, Any],
    write_recipe: Write,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if heldout:
        tables |= {"heldout": tables["data"], "heldout_examples": 5}
    monkeypatch.setattr("sftkey_data.console._finished", [])
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables))])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    output = capfd.readouterr()
    summaries = [json.loads(line) for line in output.out.splitlines()]
    rates = {"of": "heldout" if heldout else "train", "examples": 3, "format_valid": 0.0, "key_exact_text": 0.0}
    assert [summary["generated"] for summary in summaries] == [rates | {"step": 6}, rates | {"step": 4}]
    assert _generated(tables) == [("full", 6), ("answer", 4)]
    said = f"answer: generated for 3 {of} examples: 0.0% in a valid format, 0.0% with the gold's Key"
    forced = "; given the gold CoT, 0.0% of the Keys" if heldout else ""
    assert output.err.splitlines()[-2] == said + forced  # before the line that names the next command


def test_generating_changes_no_weight(tables: dict[str, Any], write_recipe: Write) -> None:
    written = {}
    for on in (True, False):
        out = Path(tables["out"]) / str(on)
        settings = [f"out={out}", *(f"stage.{n}.generate_at_end={str(on).lower()}" for n in (0, 1))]
        list(run_recipe(load_recipe(write_recipe(tables), settings)))
        files = [path for path in sorted(out.glob("*/final/*")) if path.name not in (RECIPE, ORIGIN)]
        written[on] = {str(path.relative_to(out)): path.read_bytes() for path in files}
        assert any(row["kind"] == "generated" for row in MetricsLog(out / "metrics.jsonl").rows()) == on
    assert written[True] == written[False]
    assert "answer/final/model.safetensors" in written[True]


def test_a_stage_told_not_to_says_where_accuracy_is_measured(
    tables: dict[str, Any], write_recipe: Write, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(run_module, "say", said.append)
    (first, _) = list(run_recipe(load_recipe(write_recipe(tables), ["stage.full.generate_at_end=false"])))
    assert first["generated"] is None
    assert said[0] == (
        f"full: nothing generated, as generate_at_end is false; for accuracy: sftkey-eval run --model {first['final']}"
    )


def test_a_stage_is_not_lost_where_its_model_cannot_generate(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    said: list[str] = []
    monkeypatch.setattr(run_module, "say", said.append)
    monkeypatch.setattr(LlamaForCausalLM, "generate", no_memory)
    (first, _) = list(run_recipe(load_recipe(write_recipe(tables))))
    assert (Path(first["final"]) / "model.safetensors").exists()
    assert first["generated"] is None
    assert said[0].startswith("full: nothing generated, as it failed (OutOfMemoryError: CUDA out of memory.); for acc")


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_interrupted_stage_generates_once(
    where: str, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(write_recipe(tables))  # checkpoints every second step of six, so also after the last
    with monkeypatch.context() as patch:
        place = (loop, "generate_if_possible") if where == "before" else (run_module, "finish_stage")
        patch.setattr(*place, _stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    assert _generated(tables) == ([] if where == "before" else [("full", 6)])
    with monkeypatch.context() as patch:
        if where == "after":
            patch.setattr(loop, "generate_if_possible", _stop)  # the first stage has its row
            with pytest.raises(_Stop):
                list(run_recipe(recipe))
            assert (Path(tables["out"]) / "full" / "final").is_dir()
    list(run_recipe(recipe))
    assert _generated(tables) == [("full", 6), ("answer", 4)]


def test_a_stage_that_stops_early_generates_where_it_stopped(tables: dict[str, Any], write_recipe: Write) -> None:
    stopping = {"early_stopping": {"metric": "forced_key_match", "patience": 1}, "eval_every": 2}
    tables |= {"heldout": tables["data"], "heldout_examples": 5, "stage": [tables["stage"][0] | stopping]}
    (summary,) = list(run_recipe(load_recipe(write_recipe(tables))))
    assert summary["steps"] == 2
    assert _generated(tables) == [("full", 2)]


def test_on_the_way_and_at_the_end_it_is_once_per_step(tables: dict[str, Any], write_recipe: Write) -> None:
    tables |= {"heldout": tables["data"], "heldout_examples": 5}
    tables["stage"][0] |= {"generate_every": 3}
    tables["stage"][1] |= {"generate_every": 3}
    list(run_recipe(load_recipe(write_recipe(tables))))
    assert _generated(tables) == [("full", 0), ("full", 3), ("full", 6), ("answer", 0), ("answer", 3), ("answer", 4)]


@pytest.mark.slow
def test_shares_of_weights_generate_nothing_and_say_so(tables: dict[str, Any], write_recipe: Write) -> None:
    tables |= {"fsdp": True, "stage": [tables["stage"][0] | {"steps": 2}]}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "sftkey_train.cli", "run", str(write_recipe(tables))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert json.loads(done.stdout)["generated"] is None
    assert "full: nothing generated, as with fsdp each process holds a share of the weights; for" in done.stderr
