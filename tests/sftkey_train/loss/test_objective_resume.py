"""A stage with anchor, schedule and placebo, stopped and started again, ends bit for bit as if it had not been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
SCHEDULED: dict[str, Any] = {
    "weights": {"key": 1.0, "eos": 1.0},
    "weights_end": {"key": 5.0},
    "weight_schedule": "cosine",
    "normalisation": "region",
    "placebo": True,
    "anchor": 0.5,
}


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """Two stages of seven steps, one from the initial model and one from its parent, both with every option."""
    for stage in tables["stage"]:
        del stage["loss_on"]
        stage |= SCHEDULED | {"steps": 7, "save_every": 3, "batch_size": 4, "micro_batch_size": 2}
    return tables


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


def _result(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    weights = {
        f"{path.parent.parent.name}/{name}": weight
        for path in sorted(out.glob("*/final/model.safetensors"))
        for name, weight in load_file(path).items()
    }
    rows = [dict(row) for row in MetricsLog(out / "metrics.jsonl").rows()]
    timed = ("seconds", "tokens_per_second", "flops_per_second")
    return weights, [{key: value for key, value in row.items() if key not in timed} for row in rows]


def test_stopped_before_and_after_checkpoints_of_both_stages_it_equals_an_uninterrupted_run(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, append = load_recipe(write_recipe(tables)), MetricsLog.append
    uninterrupted = recipe.out.with_name("uninterrupted")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={uninterrupted}"])))
    for num_rows in (2, 5, 9, 12):

        def append_then_stop(log: MetricsLog, row: Any, num_rows: int = num_rows) -> None:
            append(log, row)
            if len(log.rows()) == num_rows:
                raise _Stop

        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "append", append_then_stop)
            with pytest.raises(_Stop):
                list(run_recipe(recipe))
    list(run_recipe(recipe))
    (weights, rows), (expected_weights, expected_rows) = _result(recipe.out), _result(uninterrupted)
    assert weights.keys() == expected_weights.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected_weights[name])] == []
    assert rows == expected_rows
    assert all(row["anchor_kl"] > 0 for row in rows if row["step"] > 1)


def test_rows_say_weights_normalisation_and_kl_of_their_step(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"] = tables["stage"][:1]
    recipe = load_recipe(write_recipe(tables))
    list(run_recipe(recipe))
    rows = MetricsLog(recipe.out / "metrics.jsonl").rows()
    assert rows[0]["weights"] == {"prompt": 0, "cot": 0, "tag": 0, "key": 1, "eos": 1}
    assert rows[3]["weights"] == pytest.approx({"prompt": 0, "cot": 0, "tag": 0, "key": 3, "eos": 0.5})
    assert rows[6]["weights"] == {"prompt": 0, "cot": 0, "tag": 0, "key": 5, "eos": 0}
    assert {row["normalisation"] for row in rows} == {"region"}


def test_the_placebo_trains_on_as_many_tokens_as_the_key_has(tables: dict[str, Any], write_recipe: Write) -> None:
    counts = {}
    for placebo in (True, False):
        for stage in tables["stage"]:
            stage["placebo"] = placebo
        recipe = load_recipe(write_recipe(tables))
        list(run_recipe(recipe, overwrite=True))
        rows = MetricsLog(recipe.out / "metrics.jsonl").rows()
        counts[placebo] = [row["weighted_tokens"] for row in rows]
        assert all(("cot" in row["loss_by_region"]) == placebo for row in rows)
    assert counts[True] == counts[False]
