"""Several ranks train exactly as one, up to rounding; with real processes that talk through gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import PATIENCE_SECONDS, final_weights, kill_at, metric_rows, run_together, start, train

from sftkey_data.errors import SFTKeyError
from sftkey_train import ranks
from sftkey_train.model.gradient_sums import sum_gradients

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """Two stages of whole epochs, so that the last batch holds one example: fewer than there are ranks."""
    del tables["model"]["config"]["attention_dropout"]
    tables |= {"heldout": tables["data"], "heldout_examples": 5}
    for stage in tables["stage"]:
        del stage["steps"]
        stage |= {
            "epochs": 61 / 60,
            "batch_size": 12,
            "lr": 1e-3,
            "gradient_share_every": 3,
            "generate_every": 4,
            "generate_at_end": True,
        }
        stage |= {"generate_examples": 3, "generate_max_new_tokens": 4, "weight_decay": 0.1, "generate_at_end": True}
    del tables["stage"][1]["loss_on"]
    tables["stage"][1]["weights"] = {"key": 3.0, "eos": 1.0}
    return tables


def _command(num: int, recipe: Path, out: Path) -> list[str]:
    """The command as torchrun starts it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num)]
    return [*torchrun, "-m", "sftkey_train.cli", "run", str(recipe), "--set", f"out={out}"]


def _torchrun(num: int, recipe: Path, out: Path) -> list[Any]:
    """What it prints."""
    done = subprocess.run(_command(num, recipe, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("num", [2, pytest.param(3, marks=pytest.mark.slow)], ids=lambda n: f"{n}_ranks")
def test_several_ranks_equal_one(num: int, tables: dict[str, Any], write_recipe: Write) -> None:
    recipe, one, several = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "several"
    train(recipe, [f"out={one}"])
    assert [summary["stage"] for summary in _torchrun(num, recipe, several)] == ["full", "answer"]  # one rank speaks
    assert [row["examples"] for row in metric_rows(one) if row["kind"] == "train"] == [12, 12, 12, 12, 12, 1] * 2
    _assert_same_run(several, one)


def _assert_same_run(several: Path, one: Path) -> None:
    """Every row and every weight, up to rounding."""
    rows, expected = metric_rows(several), metric_rows(one)
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for key, value in other.items():
            zero = 1e-6 if key == "anchor_kl" else None  # as it is before a stage's first step
            measured = isinstance(value, (float, dict))
            assert row[key] == (pytest.approx(value, rel=2e-4, abs=zero) if measured else value), key
    weights = final_weights(several)
    for name, weight in final_weights(one).items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=2e-5, msg=name)


COMBINED: dict[str, dict[str, Any]] = {
    "packed": {"max_tokens": 300, "packing": "on", "normalisation": "example", "token_loss": "dft"},
    "packed, anchor": {"max_tokens": 300, "packing": "on", "normalisation": "region", "anchor": 0.5},
    "read": {"context_gradient": False, "micro_batch_size": 2},
    "focal": {"max_tokens": 300, "packing": "on", "token_loss": "focal"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "lora",
    [None, {"r": 2, "target_modules": ["q_proj", "v_proj"]}],
    ids=["full", "lora"],
)
def test_two_ranks_equal_one_whatever_is_combined(lora: Any, tables: dict[str, Any], write_recipe: Write) -> None:
    (stage, _), tables["stage"] = tables["stage"], []
    stage |= {"generate_every": 0, "warmup_steps": 0}
    for name, options in COMBINED.items():
        weights = {"weights": {"key": 3.0, "eos": 1.0}, "init_from": "first"}
        tables["stage"].append(stage | {"name": name.replace(", ", "-"), "epochs": 25 / 60} | weights | options)
    tables["stage"].insert(0, stage | {"name": "first", "epochs": 12 / 60})
    for stage in tables["stage"][1:]:
        del stage["loss_on"]
    tables |= {"gradient_checkpointing": True} | ({"lora": lora} if lora else {})
    recipe, one, two = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "two"
    train(recipe, [f"out={one}"])
    assert run_together(2, train, recipe, [f"out={two}"]) == [0, 0]
    _assert_same_run(two, one)


@pytest.mark.slow
def test_ranks_that_are_killed_resume_to_the_same_bits(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.1  # each rank draws its own
    for stage in tables["stage"]:
        stage["save_every"] = 2
    recipe, out, whole = write_recipe(tables), Path(tables["out"]) / "killed", Path(tables["out"]) / "whole"
    assert run_together(2, train, recipe, [f"out={whole}"]) == [0, 0]
    for stage, step in (("full", 4), ("answer", 3)):
        workers = start(2, train, recipe, [f"out={out}"])
        kill_at(workers, out / "metrics.jsonl", f'"kind": "train", "stage": "{stage}", "step": {step},')
        assert not (out / stage / "final").exists()
    with pytest.raises(SFTKeyError, match=r"checkpoint-2 was taken by 2 ranks, found 1; expected the same number"):
        train(recipe, [f"out={out}"])
    assert run_together(2, train, recipe, [f"out={out}"]) == [0, 0]
    assert metric_rows(out) == metric_rows(whole)
    weights = final_weights(whole)
    assert [name for name, weight in final_weights(out).items() if not torch.equal(weight, weights[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_stop_of_torchrun_saves_the_step_of_all_ranks(
    number: int, tables: dict[str, Any], write_recipe: Write
) -> None:
    """Ranks have sessions of their own, so Ctrl-C reaches torchrun alone, which hands either signal on to each."""
    slow = {"batch_size": 60, "micro_batch_size": 1}  # the signal comes in the middle of a step
    tables["stage"][0] |= {"epochs": 1000, "generate_every": 0, "gradient_share_every": 0, "save_every": 0} | slow
    recipe, out = write_recipe(tables), Path(tables["out"]) / "stopped"
    process = subprocess.Popen(
        _command(2, recipe, out), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline, metrics = time.monotonic() + PATIENCE_SECONDS, out / "metrics.jsonl"
    while time.monotonic() < deadline and not (metrics.exists() and '"step": 3' in metrics.read_text()):
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    (saved,) = (out / "full").glob("checkpoint-*")
    assert f"stage 'full' is saved after step {saved.name.removeprefix('checkpoint-')}, the same command" in errors
    assert process.returncode != 0


def _add_gradients() -> None:
    first, second, unused = (torch.nn.Linear(2, 1, bias=False) for _ in range(3))
    model = torch.nn.ModuleList([first, second, unused])
    with ranks.process_group(cuda=False):
        first.weight.grad = torch.full((1, 2), 1.0 + ranks.rank())
        if ranks.rank() == 1:
            second.weight.grad = torch.full((1, 2), 5.0)
        sum_gradients(model)  # type: ignore[arg-type]
        assert first.weight.grad.tolist() == [[3.0, 3.0]]
        assert second.weight.grad is not None
        assert second.weight.grad.tolist() == [[5.0, 5.0]]
        assert unused.weight.grad is None
        assert ranks.total(ranks.rank() + 0.5) == 2.0
        assert list(ranks.share(range(3))) == ([0, 2] if ranks.rank() == 0 else [1])
        assert list(ranks.share([7])) == ([7] if ranks.rank() == 0 else [])
        assert ranks.gather(ranks.rank()) == [0, 1]


def test_gradients_are_summed_also_where_a_rank_has_none() -> None:
    assert run_together(2, _add_gradients) == [0, 0]


def test_one_process_is_a_single_rank() -> None:
    assert (ranks.rank(), ranks.num_ranks(), ranks.is_main()) == (0, 1, True)
    assert (ranks.share([1, 2]), ranks.total(3.0), ranks.gather("x")) == ([1, 2], 3.0, ["x"])


def _fail() -> None:
    with ranks.process_group(cuda=False):
        raise SFTKeyError("wrong")


def _check_line() -> None:
    with pytest.raises(SFTKeyError) as caught:
        _fail()
    assert str(caught.value) == {"0": "wrong", "1": "rank 1: wrong"}[os.environ["RANK"]]


def test_an_error_says_which_rank_it_is_of() -> None:
    assert run_together(2, _check_line) == [0, 0]
