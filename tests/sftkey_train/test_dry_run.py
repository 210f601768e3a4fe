"""`sftkey-train run RECIPE --dry-run`: what it says, and that it leaves nothing; every recipe of the repository."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from transformers import AutoTokenizer, PreTrainedModel

from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.cli import main
from sftkey_train.dry_run import SUPERVISED, SUPERVISED_KEY, token_styles
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run

Write = Callable[[dict[str, Any]], Path]
RECIPES = sorted((Path(__file__).resolve().parents[2] / "train" / "recipes").glob("*.toml"))


def _lines(recipe: Path, *overrides: str) -> list[Text]:
    return list(dry_run(load_recipe(recipe, overrides)))


def _fact(lines: list[Text], name: str, number: int = 0) -> str:
    """The text after a name; `number` counts from 0 where several stages have the same name."""
    found = [line.plain.removeprefix(name).strip() for line in lines if line.plain.startswith(f"{name} ")]
    return found[number]


def test_it_prints_a_plan_and_leaves_nothing(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tables)
    before = sorted(recipe.parent.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(recipe), "--dry-run"])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert caught.value.code == 0
    assert "stage 2 of 2: answer, from full" in printed.out
    assert printed.err.splitlines()[-1] == f"next: sftkey-train run {recipe}"
    assert sorted(recipe.parent.rglob("*")) == before


def test_steps_tokens_and_shapes_are_those_of_the_run(
    tables: dict[str, Any], write_recipe: Write, prepared: TrainingSet
) -> None:
    tables["stage"][0] |= {"micro_batch_size": 3}
    lines = _lines(write_recipe(tables), "stage.answer.steps=15")
    vocabulary, total = len(prepared.tokenizer), int(prepared.examples.num_tokens.sum())
    assert _fact(lines, "data").endswith(f"60 examples, {total:,} tokens, longest {prepared.examples.num_tokens.max()}")
    num = 2 * vocabulary * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32
    assert f"(llama): {num:,} parameters, 2 layers, hidden 32, vocabulary {vocabulary}" in _fact(lines, "model")
    assert _fact(lines, "steps", 1) == "15 of 8 examples, 2 epochs"
    targets = sum(len(collate([e], LOSS_ON_WEIGHTS["answer"]).labels) for e in prepared.examples.first(60))
    assert _fact(lines, "tokens", 1).startswith(f"{2 * total:,}, of which {2 * targets:,} (")
    assert _fact(lines, "loss", 1) == "tag 1 · key 1 · eos 1"
    passes = _fact(lines, "passes", 0)
    assert passes.startswith("3 a step; first batch: input_ids (3, ")
    assert passes.count(f", {vocabulary})") == 3
    assert "input_ids (2, " in passes


def test_memory_is_that_of_the_longest_examples(tables: dict[str, Any], write_recipe: Write) -> None:
    few, many = (_fact(_lines(write_recipe(tables), f"stage.0.micro_batch_size={n}"), "memory") for n in (1, 8))
    parts = ["weights", "gradients", "optimizer", "activations", "logits"]
    assert [part.split()[-3] for part in few.partition(": ")[2].split(", ")] == parts
    assert few.split(", ")[:3][1:] == many.split(", ")[:3][1:]  # gradients and optimizer
    assert few.split(", ")[3:] != many.split(", ")[3:]


def test_memory_is_that_of_one_of_the_processes_that_share_the_model(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    whole, share = (_fact(_lines(write_recipe(tables | {"fsdp": on})), "memory") for on in (False, True))
    assert "gathered" in share
    assert "gathered" not in whole
    moments = [float(line.split("optimizer ")[1].split()[0]) for line in (whole, share)]
    assert moments[1] == pytest.approx(moments[0] / 4, abs=0.06)


def test_the_largest_pass_fills_a_budget_most(
    tables: dict[str, Any], write_recipe: Write, prepared: TrainingSet
) -> None:
    lengths = sorted(prepared.examples.num_tokens.tolist())
    budget = 2 * lengths[-1] - 1  # the longest is alone in it, and two shorter ones are more
    most = max(min(budget // n, i + 1) * n for i, n in enumerate(lengths))
    assert most > lengths[-1]
    shape = _fact(_lines(write_recipe(tables), f"stage.0.max_tokens={budget}"), "largest").split("(")[1].split(")")[0]
    rows, width = map(int, shape.split(", "))
    assert rows * (width + 1) == most  # the last token is only predicted


@pytest.mark.parametrize("loss_on", ["completion", "answer", "key"])
def test_the_tokens_with_loss_are_green_and_the_key_is_bold(prepared: TrainingSet, loss_on: Any) -> None:
    weights = LOSS_ON_WEIGHTS[loss_on]
    batch = collate(prepared.examples.first(3), weights)
    for row, example in enumerate(prepared.examples.first(3)):
        styles, borders = token_styles(batch, row), example.borders
        keys = range(borders.key_token_start, borders.key_token_end)
        first = {"completion": borders.prompt_tokens, "answer": borders.cot_token_end, "key": keys.start}[loss_on]
        end = keys.stop if loss_on == "key" else borders.num_tokens
        assert styles == {at: SUPERVISED_KEY if at in keys else SUPERVISED for at in range(first, end)}


def test_the_first_batch_is_shown_token_by_token(tables: dict[str, Any], write_recipe: Write) -> None:
    lines = _lines(write_recipe(tables))
    at = max(i for i, line in enumerate(lines) if line.plain.startswith("first batch, 3 of its 8 examples"))
    shown = lines[at + 2]
    keys = [shown.plain[span.start : span.end] for span in shown.spans if span.style == SUPERVISED_KEY]
    gold = lines[at + 1].plain.split("key: '")[1].split("'")[0]
    assert "".join(keys).strip() == gold
    green = "".join(shown.plain[span.start : span.end] for span in shown.spans if span.style == SUPERVISED)
    assert "<Answer>" in green
    assert "<Thinking>" not in green


def test_a_stage_that_does_not_fit_is_found_without_training(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dry-run", "--set", "stage.1.warmup_steps=7"]
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables)), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert (caught.value.code, printed.out) == (1, "")
    assert printed.err == "error: stage 'answer': warmup_steps is 7, but the stage has only 4 steps\n"


@pytest.fixture(scope="session")
def hub_model(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes the place of a model on the hub: random, tiny, with the tokenizer of the data."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("hub") / "model"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("llama", vocab_size=512, **sizes)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_dir).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_in_the_repository_fits_together(
    path: Path, data_dir: Path, hub_model: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(path)
    model = [f"model.path={hub_model}"] if recipe.model.path else []
    places = [f"data={data_dir}", f"heldout={data_dir}", f"out={tmp_path / 'run'}"]
    lines = _lines(path, *places, *model)
    assert [line.plain.split(": ")[1].split(",")[0] for line in lines if line.plain.startswith("\nstage ")] == [
        stage.name for stage in recipe.stages
    ]
    assert not (tmp_path / "run").exists()
