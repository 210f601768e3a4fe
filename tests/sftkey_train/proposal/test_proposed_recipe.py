"""`sftkey-train recipe`: what it proposes fits in the memory that it was made for, and runs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.process_pool import cores
from sftkey_eval.generation.sampling import Sampling
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.cli import main
from sftkey_train.dry_run import estimate_stage, largest_pass
from sftkey_train.proposal.machine import TrainingMachine, this_machine
from sftkey_train.proposal.proposed_recipe import GENERATED, ROOM, propose_recipe
from sftkey_train.proposal.recipe_comments import commented_recipe, remarks
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

# 39 million parameters, in wide matrices, so that an adapter is small beside them; no weights are needed.
SIZES = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 8}
MIB = 2**20


def machine(memory: float, flops: float = 1e12) -> TrainingMachine:
    return TrainingMachine("a machine", int(memory), "fp32", flops)


@pytest.fixture(scope="module")
def model(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "wide"
    AutoConfig.for_model("llama", **SIZES, vocab_size=512, max_position_embeddings=512).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_dir).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("mebibytes", "way"),
    [
        (4000, "all weights"),
        (800, "all weights"),
        (760, "all weights, activations recomputed"),
        pytest.param(400, "LoRA", marks=pytest.mark.slow),
        (240, "LoRA, activations recomputed"),
    ],
)
def test_the_largest_pass_that_fits_is_proposed_with_an_adapter_where_nothing_else_does(
    mebibytes: int, way: str, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    proposed = propose_recipe(str(model), data_dir, None, machine(mebibytes * MIB))
    assert proposed.way == way
    assert (proposed.recipe.lora is not None) == way.startswith("LoRA")
    room, stage, data = ROOM * mebibytes * MIB, proposed.recipe.stages[0], read_training_set(data_dir)
    config, longest = AutoConfig.from_pretrained(model), int(proposed.lengths.max())

    def needed(tokens: int) -> int:
        changed = stage.model_copy(update={"max_tokens": tokens})
        return estimate_stage(proposed.recipe, changed, config, largest_pass(data, changed, 0, whole=False)).total

    assert needed(stage.max_tokens) == proposed.memory.total <= room
    assert all(others > room for others in proposed.others.values())
    whole_batch = stage.batch_size * longest
    assert stage.max_tokens == whole_batch or needed(min(2 * stage.max_tokens, whole_batch)) > room
    (file := tmp_path / "mine.toml").write_text(commented_recipe(proposed) + "\n")
    assert load_recipe(file) == proposed.recipe


def test_without_a_model_a_small_one_from_scratch_is_proposed_that_runs(data_dir: Path, tmp_path: Path) -> None:
    proposed = propose_recipe(None, data_dir, data_dir, machine(4e9))
    examples = read_training_set(data_dir).examples
    config = proposed.recipe.model.config
    assert config is not None
    longest = (examples.num_tokens - examples.num_prompt_tokens).max()
    assert longest < 256
    assert Sampling().max_new_tokens == GENERATED
    assert examples.num_prompt_tokens.max() + GENERATED <= config["max_position_embeddings"] == 1024
    assert [stage.epochs for stage in proposed.recipe.stages] == [20, 5, 5]
    assert proposed.recipe.name == data_dir.name
    (file := tmp_path / "mine.toml").write_text(commented_recipe(proposed) + "\n")
    assert load_recipe(file) == proposed.recipe
    assert any("a small one from scratch" in line for line in remarks(proposed))
    short = [f"stage.{n}.{key}" for n in range(3) for key in ("epochs=0.1", "generate_examples=2", "eval_every=0")]
    stages = [summary["stage"] for summary in run_recipe(load_recipe(file, short))]
    assert stages == ["stage1", "sftkey", "continued"]


def test_on_a_gpu_it_says_which_attention_packed_examples_run_best_with(data_dir: Path, tmp_path: Path) -> None:
    gpu = replace(machine(4e9), precision="bf16")
    proposed = propose_recipe(None, data_dir, None, gpu)
    above, line, below = commented_recipe(proposed).partition('precision = "bf16"\n')
    advice = above.splitlines()[-1]
    assert 'attention = "flash_attention_2"' in advice
    (file := tmp_path / "mine.toml").write_text(f'{above}{line}attention = "flash_attention_2"\n{below}\n')
    assert load_recipe(file) == proposed.recipe.model_copy(update={"attention": "flash_attention_2"})
    assert "flash_attention" not in commented_recipe(propose_recipe(None, data_dir, None, machine(4e9)))


def test_a_small_model_gets_an_adapter_in_no_case(data_dir: Path) -> None:
    proposed = propose_recipe(None, data_dir, None, machine(2 * MIB))
    assert proposed.way == "all weights, activations recomputed"
    assert not proposed.fits


def test_where_nothing_fits_the_smallest_is_proposed_and_both_say_so(model: Path, data_dir: Path) -> None:
    proposed = propose_recipe(str(model), data_dir, None, machine(100 * MIB))
    assert not proposed.fits
    assert proposed.recipe.lora is not None
    assert proposed.recipe.stages[0].max_tokens == proposed.lengths.max()
    assert [*proposed.others] == ["all weights", "all weights, activations recomputed", "LoRA"]
    assert "TOO LITTLE MEMORY" in commented_recipe(proposed)
    assert any(line.startswith("warning: too little memory even so") for line in remarks(proposed))


def test_epochs_that_take_longer_than_a_day_become_the_steps_of_a_day(model: Path, data_dir: Path) -> None:
    quick, slow, slowest = (propose_recipe(str(model), data_dir, None, machine(4e9, f)) for f in (1e12, 4e7, 4e6))
    assert [stage.epochs for stage in quick.recipe.stages] == [3, 1, 1]
    assert slow.hours == pytest.approx(quick.hours * 25_000)
    steps = [stage.steps for stage in slow.recipe.stages]
    assert steps[0] == int(slow.num_steps * 24 / slow.hours)
    assert all(step is not None and 1 < step < slow.num_steps for step in steps)
    assert f"{steps[0]} steps, of {slow.num_steps}, are those of a day" in commented_recipe(slow)
    assert [stage.epochs for stage in slowest.recipe.stages] == [3, 1, 1]
    assert any(line.startswith("warning: stage 1") and "too slow a machine" in line for line in remarks(slowest))


def test_the_command_prints_a_recipe_alone_that_a_dry_run_takes(
    rows_file: Path,
    tokenizer_dir: Path,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = BuildConfig(source="gsm8k", inputs=(str(rows_file),), tokenizer=str(tokenizer_dir), holdout=0.2)
    build(config, Path("some data"))
    called(monkeypatch, "recipe", "--model", str(model_dir), "--data", "some data")
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == "next: sftkey-train run recipe.toml --dry-run"
    assert "no heldout" not in shown.err
    Path("mine.toml").write_text(shown.out)
    recipe = load_recipe(Path("mine.toml"))
    assert (recipe.data, recipe.heldout) == (Path("some data"), Path("some data-holdout"))
    assert recipe.name == "model-some-data"
    called(monkeypatch, "run", "mine.toml", "--dry-run")
    assert "stage 3 of 3: continued, from stage1" in capsys.readouterr().out
    assert sorted(map(str, Path().iterdir())) == ["mine.toml", "model", "some data", "some data-holdout"]
    recipe.out.mkdir(parents=True)
    called(monkeypatch, "recipe", "--model", str(model_dir), "--data", "some data")
    assert f'out = "{recipe.out}-2"' in capsys.readouterr().out


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["sftkey-train", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--model", "m"], 2, "expected --data, or --path"),
        (["--model", "m", "--data", "none"], 1, "none: no manifest.json, expected a folder written by"),
        (["--model", "m", "--data", "{data}"], 1, "'m'"),
    ],
    ids=["no data", "no folder", "no model"],
)
def test_what_cannot_be_proposed_for_is_one_line(
    arguments: list[str],
    code: int,
    expected: str,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    called(monkeypatch, "recipe", *(argument.format(data=data_dir) for argument in arguments), code=code)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert expected in shown.err


def test_this_machine_has_memory_and_a_speed() -> None:
    found = this_machine()
    assert 2**28 < found.memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") or "cores" not in found.name
    assert found.flops > 1e8


@pytest.mark.skipif(torch.cuda.is_available(), reason="what others take of the cores says nothing about a GPU")
def test_the_speed_is_that_of_this_machine_when_others_load_it_too() -> None:
    alone = this_machine().flops
    others = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(min(8, 2 * cores()))]
    try:
        beside = this_machine().flops
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert beside > alone / 2
