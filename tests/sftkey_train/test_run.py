"""Whole runs on a small task: stages, forks, what they write, and what a second invocation does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.region_weights import region_weights
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.checkpoint.earlier_run import first_difference
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.model.model import load_model
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tables: dict[str, Any], write_recipe: Write) -> Run:
    """Runs the recipe of `tables` as it is when called."""

    def call(*overrides: str, overwrite: bool = False) -> list[dict[str, Any]]:
        return list(run_recipe(load_recipe(write_recipe(tables), overrides), overwrite=overwrite))

    return call


@pytest.fixture
def out(tables: dict[str, Any]) -> Path:
    return Path(tables["out"])


def _weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(out / stage / "final" / "model.safetensors")


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _rows(out: Path, kind: str, stage: str) -> list[dict[str, Any]]:
    rows = MetricsLog(out / "metrics.jsonl").rows()
    return [dict(row) for row in rows if row["kind"] == kind and row["stage"] == stage]


def test_both_stages_leave_models_that_load_by_themselves(run: Run, out: Path) -> None:
    summaries = run()
    assert [(s["stage"], s["steps"], s["final"]) for s in summaries] == [
        ("full", 6, str(out / "full" / "final")),
        ("answer", 4, str(out / "answer" / "final")),
    ]
    for stage in ("full", "answer"):
        final = out / stage / "final"
        model = AutoModelForCausalLM.from_pretrained(final)
        tokenizer = AutoTokenizer.from_pretrained(final)
        assert model.config.vocab_size == len(tokenizer)
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id == model.config.eos_token_id
        assert not list((out / stage).glob("checkpoint-*"))
    assert not _same(_weights(out, "full"), _weights(out, "answer"))
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_resolved_recipe_lies_beside_the_model(run: Run, out: Path, tables: dict[str, Any]) -> None:
    run("stage.answer.lr=1e-4")
    resolved = Recipe.model_validate(read_sealed(out / "answer" / "final" / "recipe.json", ""))
    assert resolved.stages[1].lr == 1e-4
    assert resolved.stages[0].betas == (0.9, 0.95)


def test_every_step_has_a_row_with_what_was_measured(run: Run, out: Path) -> None:
    run()
    rows = _rows(out, "train", "answer")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["lr"] for row in rows] == pytest.approx([2.5e-3, 5e-3, 5e-3, 2.5e-3])
    for row in rows:
        assert row["examples"] == 8
        assert set(row["loss_by_region"]) == {"tag", "key", "eos"}
        assert 0 < row["weighted_tokens"] < row["tokens"]
        assert row["grad_norm"] > 0
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
    assert set(_rows(out, "train", "full")[0]["loss_by_region"]) == {"cot", "tag", "key", "eos"}


def test_the_loss_is_the_weighted_mean_of_the_regions(run: Run, out: Path, tables: dict[str, Any]) -> None:
    del tables["stage"][0]["loss_on"]
    tables["stage"] = [tables["stage"][0] | {"weights": {"key": 3.0, "eos": 1.0}, "steps": 2, "batch_size": 1}]
    run()
    row = _rows(out, "train", "full")[0]
    num_keys, by_region = row["weighted_tokens"] - 1, row["loss_by_region"]
    expected = (3 * num_keys * by_region["key"] + by_region["eos"]) / (3 * num_keys + 1)
    assert row["loss"] == pytest.approx(expected, rel=1e-6)


def test_the_loss_really_goes_down_and_stage_2_lowers_that_of_the_key(
    run: Run, out: Path, tables: dict[str, Any]
) -> None:
    tables["heldout"] = tables["data"]
    tables["stage"][0] |= {"steps": 50, "lr": 1e-2, "save_every": 0, "batch_size": 12}
    run("stage.answer.steps=30")
    full, answer = _rows(out, "train", "full"), _rows(out, "heldout", "answer")
    assert full[-1]["loss"] < full[0]["loss"] / 5
    assert answer[-1]["loss_by_region"]["key"] < 0.9 * answer[0]["loss_by_region"]["key"]


def test_heldout_rows_come_at_start_end_and_every_so_often(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["heldout"], tables["heldout_examples"] = tables["data"], 10
    (summary, *_) = run("stage.full.eval_every=4")
    rows = _rows(out, "heldout", "full")
    assert [row["step"] for row in rows] == [0, 4, 6]
    assert [row["examples"] for row in rows] == [10, 10, 10]
    assert summary["heldout"] == {key: rows[-1][key] for key in ("loss_by_region", "forced_key_match")}
    answer = _rows(out, "heldout", "answer")
    assert [row["step"] for row in answer] == [0, 4]
    assert answer[0]["loss_by_region"] == rows[-1]["loss_by_region"]
    assert "cot" in answer[-1]["loss_by_region"]  # carries no loss in this stage, and is measured


def test_measuring_changes_nothing_in_training(run: Run, out: Path, tables: dict[str, Any]) -> None:
    run()
    plain = _weights(out, "answer")
    tables |= {"heldout": tables["data"]}
    run("stage.full.eval_every=1", overwrite=True)
    assert _same(_weights(out, "answer"), plain)


def test_checkpoints_and_logging_change_nothing_in_training(run: Run, out: Path) -> None:
    run()
    plain = _weights(out, "answer")
    run("stage.full.save_every=0", "stage.answer.save_every=1", "stage.full.log_every=4", overwrite=True)
    assert _same(_weights(out, "answer"), plain)
    assert [row["step"] for row in _rows(out, "train", "full")] == [4, 6]


def test_forks_start_from_the_same_weights_and_see_the_same_examples(
    run: Run, out: Path, tables: dict[str, Any]
) -> None:
    same = {**tables["stage"][1], "name": "again", "init_from": "full"}
    more = {**tables["stage"][1], "name": "more", "init_from": "full", "loss_on": "completion"}
    tables["stage"] += [same, more]
    run()
    assert _same(_weights(out, "answer"), _weights(out, "again"))
    assert not _same(_weights(out, "answer"), _weights(out, "more"))
    tokens = {name: [row["tokens"] for row in _rows(out, "train", name)] for name in ("answer", "more")}
    assert tokens["answer"] == tokens["more"]


def test_the_seed_decides_initial_weights_and_order(run: Run, out: Path) -> None:
    run()
    first = _weights(out, "full")
    run(overwrite=True)
    assert _same(_weights(out, "full"), first)
    run("seed=4", overwrite=True)
    assert not _same(_weights(out, "full"), first)


def test_dropout_is_on_in_training(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = tables["stage"][:1]
    run()
    dropped = _weights(out, "full")
    run("model.config.attention_dropout=0.0", overwrite=True)
    assert not _same(_weights(out, "full"), dropped)


def test_a_second_invocation_of_a_finished_run_changes_nothing(run: Run, out: Path) -> None:
    summaries = run()
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert run() == summaries
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == files


def test_micro_batches_give_the_same_model_up_to_rounding(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.0  # its random numbers depend on the split
    tables["stage"][0]["steps"] = 3
    run()
    whole = _rows(out, "train", "full")
    run("stage.full.micro_batch_size=2", overwrite=True)
    split = _rows(out, "train", "full")
    assert [row["loss"] for row in split] == pytest.approx([row["loss"] for row in whole], rel=1e-5)
    assert [row["grad_norm"] for row in split] == pytest.approx([row["grad_norm"] for row in whole], rel=1e-4)


def test_gradient_checkpointing_and_gradient_norms_change_nothing_in_training(run: Run, out: Path) -> None:
    run()
    plain = _weights(out, "answer")
    run("gradient_checkpointing=true", "stage.full.gradient_share_every=2", overwrite=True)
    assert _same(_weights(out, "answer"), plain)
    rows = _rows(out, "gradient", "full")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert set(rows[0]["gradient_norm_by_region"]) == {"cot", "tag", "key", "eos"}
    assert sum(rows[0]["gradient_share_by_region"].values()) == pytest.approx(1.0)


def test_the_norm_of_the_only_region_is_the_norm_of_the_step(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = [tables["stage"][0] | {"loss_on": "key", "steps": 2, "gradient_share_every": 1}]
    run()
    norms = [row["gradient_norm_by_region"]["key"] for row in _rows(out, "gradient", "full")]
    assert norms == pytest.approx([row["grad_norm"] for row in _rows(out, "train", "full")])


def test_bf16_stays_near_single_precision(run: Run, out: Path) -> None:
    run()
    single = [row["loss"] for row in _rows(out, "train", "full")]
    run("precision=bf16", overwrite=True)
    half = [row["loss"] for row in _rows(out, "train", "full")]
    assert half == pytest.approx(single, rel=0.03)
    assert half != single
    assert {weight.dtype for weight in _weights(out, "full").values()} == {torch.float32}


def test_mfu_is_there_where_the_peak_is_known(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 1, "warmup_steps": 0}]
    run()
    (row,) = _rows(out, "train", "full")
    assert row["flops_per_second"] > 0
    assert "mfu" not in row
    run("peak_flops=1e15", overwrite=True)
    (row,) = _rows(out, "train", "full")
    assert row["mfu"] == pytest.approx(row["flops_per_second"] / 1e15)


def test_an_epoch_that_does_not_divide_sees_its_last_examples(run: Run, out: Path, tables: dict[str, Any]) -> None:
    del tables["stage"][0]["steps"]
    run("stage.full.epochs=1")
    assert [row["examples"] for row in _rows(out, "train", "full")] == [8] * 7 + [4]


def _plain_loop(model: PreTrainedModel, recipe: Recipe) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step of a loop without any shortcut; the model is trained in place."""
    stage, examples = recipe.stages[0], read_training_set(recipe.data).examples
    order = ExampleOrder(recipe.seed, 0, len(examples), stage.batch_size, 4 * stage.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), betas=stage.betas, weight_decay=0.0)
    measured = []
    for step, rate in enumerate((0.5, 1.0, 1.0, 0.5), start=1):  # two steps of warm-up, then linear over the other two
        numerator, denominator = torch.zeros(()), torch.zeros(())
        for example in (examples[i] for i in order.batch(step)):
            weights = region_weights(example.borders, stage.region_weights)[1:]
            logits = model(input_ids=example.input_ids[None]).logits[0, :-1]
            nll = torch.nn.functional.cross_entropy(logits, example.input_ids[1:], reduction="none")
            numerator, denominator = numerator + (weights * nll).sum(), denominator + weights.sum()
        loss = numerator / denominator
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), stage.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * stage.lr
        optimizer.step()
        measured.append((float(loss.detach()), float(norm)))
    return measured


def test_the_loop_equals_a_plain_one(run: Run, out: Path, tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.0
    changes = {"steps": 4, "lr": 1e-3, "loss_on": "answer", "max_grad_norm": 0.3, "micro_batch_size": 3}
    tables["stage"] = [tables["stage"][0] | changes]
    run("stage.full.lr=1e-30")
    model = load_model(out / "full" / "final")
    plain = _plain_loop(model, load_recipe(write_recipe(tables)))
    run(overwrite=True)
    measured = [(row["loss"], row["grad_norm"]) for row in _rows(out, "train", "full")]
    assert [value for row in measured for value in row] == pytest.approx(
        [value for row in plain for value in row], 1e-4
    )
    assert all(norm > 0.3 for _, norm in plain)  # every step was clipped
    trained = _weights(out, "full")
    for name, weight in model.named_parameters():
        torch.testing.assert_close(trained[name], weight.detach(), rtol=1e-3, atol=2e-5, msg=name)


def test_each_step_moves_the_weights_by_its_learning_rate(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 2, "warmup_steps": 0, "lr": 1e-6}]
    run("stage.full.lr=1e-30")
    start = _weights(out, "full")
    run(overwrite=True)
    # AdamW moves a weight with a steady gradient by the learning rate: 1e-6, then half of it on the linear schedule.
    moved = max(float((weight - start[name]).abs().max()) for name, weight in _weights(out, "full").items())
    assert 1.3e-6 < moved < 1.6e-6


def test_gradients_are_clipped_to_the_norm_of_the_stage(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 2, "lr": 1e-3}]
    run("stage.full.lr=1e-30")
    start = _weights(out, "full")
    run("stage.full.max_grad_norm=1e-12", overwrite=True)  # far below AdamW's epsilon, so that it shows
    moved = max(float((weight - start[name]).abs().max()) for name, weight in _weights(out, "full").items())
    assert moved < 1e-6
    assert _rows(out, "train", "full")[0]["grad_norm"] > 0.1  # as it was before


def test_weight_decay_spares_norms_and_biases(run: Run, out: Path, tables: dict[str, Any]) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 1, "warmup_steps": 0}]
    run("stage.full.weight_decay=0.0")
    plain = _weights(out, "full")
    run("stage.full.weight_decay=0.5", overwrite=True)
    decayed = _weights(out, "full")
    changed = {name for name in plain if not torch.equal(plain[name], decayed[name])}
    assert changed == {name for name, weight in plain.items() if weight.dim() >= 2}


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("stage.full.lr=1e-4", "recipe.stage.0.lr was 0.005, now 0.0001"),
        ("stage.answer.steps=9", "recipe.stage.1.steps was 4, now 9"),
        ("model.config.hidden_size=64", "recipe.model.config.hidden_size was 32, now 64"),
    ],
)
def test_another_recipe_is_refused_in_the_same_directory(run: Run, out: Path, override: str, difference: str) -> None:
    run()
    with pytest.raises(SFTKeyError) as caught:
        run(override)
    assert str(caught.value) == f"out {out} holds a run of another recipe: {difference}; --overwrite starts anew"


def test_other_data_under_the_same_name_are_refused(run: Run, tables: dict[str, Any], straddling_dir: Path) -> None:
    link = Path(tables["out"]).parent / "data"
    link.symlink_to(tables["data"])
    tables["data"] = str(link)
    run()
    link.unlink()
    link.symlink_to(straddling_dir)
    with pytest.raises(SFTKeyError, match="another recipe: data_sha256 was"):
        run()


def test_a_run_may_move(run: Run, out: Path, tables: dict[str, Any]) -> None:
    summaries = run()
    out.rename(out.with_name("moved"))
    tables["out"] = str(out.with_name("moved"))
    assert [s["loss"] for s in run()] == [s["loss"] for s in summaries]


def test_overwriting_deletes_the_run_and_nothing_else(run: Run, out: Path, tables: dict[str, Any]) -> None:
    run()
    (out / "notes.txt").write_text("mine")
    tables["stage"] = tables["stage"][:1]
    run(overwrite=True)
    left = [".sftkey", "full", "loss.png", "metrics.jsonl", "notes.txt", "run.json"]
    assert sorted(path.name for path in out.iterdir()) == left


@pytest.mark.parametrize(
    ("earlier", "now", "difference"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b.1 was 2, now 3"),
        ({"a": [1]}, {"a": [1, 2]}, "a.1 was null, now 2"),
        ({"a": 1, "b": 2}, {"a": 1}, "b was 2, now null"),
        ({"recipe": {"out": "x"}}, {"recipe": {"out": "y"}}, None),
    ],
)
def test_the_first_difference_is_named(earlier: Any, now: Any, difference: str | None) -> None:
    assert first_difference(earlier, now) == difference


@pytest.mark.slow
def test_a_token_budget_gives_the_same_model_as_a_number_of_examples(
    run: Run, out: Path, tables: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.0  # its random numbers depend on the split
    tables["stage"][0]["steps"] = 3
    run()
    whole = _rows(out, "train", "full") + _rows(out, "train", "answer")
    for packing in ("on", "off"):
        run(*(f"stage.{i}.{key}" for i in (0, 1) for key in ("max_tokens=300", f"packing={packing}")), overwrite=True)
        split = _rows(out, "train", "full") + _rows(out, "train", "answer")
        for key in ("loss", "grad_norm"):
            assert [row[key] for row in split] == pytest.approx([row[key] for row in whole], rel=1e-4)
        assert [row["tokens"] for row in split] == [row["tokens"] for row in whole]
    assert "apart" not in capsys.readouterr().err


def test_a_stage_that_only_reads_the_context_has_the_same_first_loss_and_another_gradient(run: Run, out: Path) -> None:
    run("model.config.attention_dropout=0.0")
    whole = _rows(out, "train", "answer")
    run("model.config.attention_dropout=0.0", "stage.answer.context_gradient=false", overwrite=True)
    read = _rows(out, "train", "answer")
    assert read[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-5)
    assert read[0]["grad_norm"] != pytest.approx(whole[0]["grad_norm"], rel=1e-3)
    assert read[0]["weighted_tokens"] == whole[0]["weighted_tokens"]
