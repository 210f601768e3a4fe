"""Early stopping and the best model, decided by held-out rows alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from some_slow import some_slow
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftkey_train import recipe_run as run_module
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.measure.heldout import heldout_batches, measure_heldout
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.measure.stopping import Measurements
from sftkey_train.recipe import EarlyStopping
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]


def _heldout(nll: float, exact: float = 0.0) -> dict[str, Any]:
    return {"kind": "heldout", "loss_by_region": {"cot": 9.0, "key": nll}, "forced_key_match": exact}


def _generated(rate: float) -> dict[str, Any]:
    return {"kind": "generated", "key_exact_text": rate}


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([], 1, False),
        ([1.0], 1, False),
        ([1.0, 0.9], 1, False),
        ([1.0, 1.1], 1, True),
        ([1.0, 1.0], 1, True),  # as good is not better
        ([1.0, 0.8, 0.9], 2, False),
        ([1.0, 0.8, 0.9, 0.8], 2, True),
        ([1.0, 0.8, 0.9, 0.7], 2, False),
    ],
)
def test_a_stage_stops_when_patience_is_over(losses: list[float], patience: int, stops: bool) -> None:
    measurements = Measurements([_heldout(nll) for nll in losses])
    assert measurements.says_stop(EarlyStopping(metric="key_nll", patience=patience)) == stops
    assert not measurements.says_stop(None)


def test_more_exact_matches_are_better_and_rows_of_other_kinds_do_not_count() -> None:
    rows = [_heldout(1.0, 0.5), _generated(0.0), _heldout(2.0, 0.6), _generated(0.1)]
    measurements = Measurements(rows)
    assert measurements.scores("forced_key_match") == [0.5, 0.6]
    assert not measurements.says_stop(EarlyStopping(metric="forced_key_match", patience=1))
    assert measurements.says_stop(EarlyStopping(metric="key_nll", patience=1))
    assert measurements.last_is_best("generated_key_match")
    assert not measurements.last_is_best("forced_key_match")  # not measured just now


def test_what_is_only_as_good_does_not_replace_the_best() -> None:
    measurements = Measurements([_heldout(1.0), _heldout(0.5), _heldout(0.5)])
    assert not measurements.last_is_best("key_nll")
    measurements.add(_heldout(0.4))
    assert measurements.last_is_best("key_nll")


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """The first stage alone, which learns fast and then ruins what it has learned."""
    stage = tables["stage"][0] | {"steps": 40, "eval_every": 2, "schedule": "constant", "lr": 3e-2, "save_every": 2}
    stage |= {"best": "key_nll", "early_stopping": {"metric": "key_nll", "patience": 2}, "max_grad_norm": 0.0}
    return tables | {"stage": [stage], "heldout": tables["data"], "heldout_examples": 10}


def _rows(out: Path, kind: str) -> list[dict[str, Any]]:
    rows = (dict(row) for row in MetricsLog(out / "metrics.jsonl").rows() if row["kind"] == kind)
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "tokens_per_second", "flops_per_second")} for row in rows
    ]


def test_the_stage_ends_early_and_the_best_model_is_kept_and_loads(tables: dict[str, Any], write_recipe: Write) -> None:
    (summary,) = run_recipe(load_recipe(write_recipe(tables)))
    out = Path(tables["out"])
    rows = _rows(out, "heldout")
    losses = [row["loss_by_region"]["key"] for row in rows]
    best = losses.index(min(losses))
    assert len(losses) - 1 == best + 2 >= 3
    assert summary["steps"] == rows[-1]["step"] == _rows(out, "train")[-1]["step"] < 40
    folder = out / "full" / f"best-{rows[best]['step']}"
    assert sorted(path.name for path in (out / "full").iterdir()) == [folder.name, "final"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == model.config.vocab_size
    batches = heldout_batches(read_training_set(Path(tables["data"])).examples.first(10), 0)
    assert measure_heldout(model, batches)["loss_by_region"]["key"] == pytest.approx(min(losses), rel=1e-5)


def test_a_stage_can_start_from_the_best_of_the_one_before(tables: dict[str, Any], write_recipe: Write) -> None:
    answer = {"name": "answer", "loss_on": "answer", "steps": 1, "batch_size": 4, "lr": 1e-30, "init_weights": "best"}
    tables["stage"] += [answer, {**answer, "name": "last", "init_from": "full", "init_weights": "final"}]
    full, from_best, from_final = run_recipe(load_recipe(write_recipe(tables)))
    assert full["best"] == str(next((Path(tables["out"]) / "full").glob("best-*")))
    assert (from_best["best"], from_final["best"]) == (None, None)
    best, final, first, second = (
        load_file(Path(folder) / "model.safetensors")
        for folder in (full["best"], full["final"], from_best["final"], from_final["final"])
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, best[name], rtol=0, atol=1e-9)
        torch.testing.assert_close(second[name], final[name], rtol=0, atol=1e-9)
    assert any(not torch.equal(best[name], weight) for name, weight in final.items())


@pytest.mark.slow
def test_an_adapter_can_start_from_the_best_of_the_stage_before(tables: dict[str, Any], write_recipe: Write) -> None:
    answer = {"name": "answer", "loss_on": "answer", "steps": 1, "batch_size": 4, "lr": 1e-30, "init_weights": "best"}
    tables |= {"stage": [tables["stage"][0] | {"lr": 0.3}, answer], "lora": {"r": 2}}
    full, from_best = run_recipe(load_recipe(write_recipe(tables)))
    best, final, first = (
        load_file(Path(folder) / "adapter" / "adapter_model.safetensors")
        for folder in (full["best"], full["final"], from_best["final"])
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, best[name], rtol=0, atol=1e-9)
    assert any(not torch.equal(best[name], weight) for name, weight in final.items())


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


@pytest.mark.parametrize("lora", some_slow({"full": None, "lora": {"r": 2, "dropout": 0.1}}, quick=["full"]))
@pytest.mark.parametrize("share", [0.6, 1.0], ids=["on_the_way", "after_the_last_row"])
def test_a_resumed_stage_stops_where_an_uninterrupted_one_does(
    share: float, lora: Any, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lora:
        tables["lora"] = lora
    whole, out = Path(tables["out"]) / "whole", Path(tables["out"]) / "stopped"
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={whole}"])))
    num_rows = int(share * len(MetricsLog(whole / "metrics.jsonl").rows()))
    assert _rows(whole, "train")[-1]["step"] < 40
    recipe, written, append = load_recipe(write_recipe(tables), [f"out={out}"]), 0, MetricsLog.append

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        nonlocal written
        append(log, row)
        written += 1
        if written == num_rows:
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    with monkeypatch.context() as patch:  # and once more after its last checkpoint, before its end is recorded
        patch.setattr(run_module, "finish_stage", _stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    list(run_recipe(recipe))
    for kind in ("train", "heldout"):
        assert _rows(out, kind) == _rows(whole, kind)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*.safetensors"))]
    assert files == [path.relative_to(out) for path in sorted(out.rglob("*.safetensors"))]
    for file in files:
        expected = load_file(whole / file)
        assert all(torch.equal(weight, expected[name]) for name, weight in load_file(out / file).items()), file


def _stop(*_: object) -> None:
    raise _Stop


def test_the_last_checkpoints_stay_while_the_stage_runs(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tables["stage"][0] | {"steps": 10, "save_every": 2, "keep_last": 3, "best": None, "early_stopping": None}
    tables["stage"] = [{key: value for key, value in stage.items() if value is not None}]
    monkeypatch.setattr(run_module, "finish_stage", _stop)
    with pytest.raises(_Stop):
        list(run_recipe(load_recipe(write_recipe(tables))))
    kept = sorted(path.name for path in (Path(tables["out"]) / "full").iterdir())
    assert kept == ["checkpoint-10", "checkpoint-6", "checkpoint-8"]
    assert json.loads((Path(tables["out"]) / "run.json").read_text())["recipe"]["stage"][0]["keep_last"] == 3
