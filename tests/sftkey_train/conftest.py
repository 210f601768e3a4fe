"""A tiny real tokenizer, prepared directories built by the real build, and tiny random models of several families."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import device_named
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.cli import main
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

NUM_ROWS = 60

# Sizes per family: small enough for milliseconds, with every kind of head (tied, untied, with a bias, soft-capped), of
# attention (grouped, multi-query, with a window shorter than the examples) and of position (rotary, learned, none).
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SIZES, "num_key_value_heads": 2}
NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
WINDOW = {"sliding_window": 16}
HYBRID = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
TINY: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "qwen2": {**GROUPED, "tie_word_embeddings": True},
    "qwen3": {**GROUPED, "head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gemma2": {**GROUPED, **HYBRID, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0},
    "gemma3_text": {**GROUPED, **HYBRID},
    "mistral": {**GROUPED, **WINDOW},
    "phi3": {**GROUPED, **WINDOW},
    "smollm3": {**GROUPED, "no_rope_layers": [1, 0]},
    "gpt_neox": {**SIZES, **NO_DROPOUT},
    "falcon": {**SIZES, **NO_DROPOUT},
    "phi": {**GROUPED, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
}
EAGER = ("gemma2",)  # scaled-dot-product attention leaves soft-capping out


@pytest.fixture(params=TINY)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _row(index: int) -> dict[str, str]:
    a, b, c = index % 7 + 2, index % 11 + 3, index % 5 + 1
    extra = " Then the box is put away." * (index % 3)
    steps = f"There are {a} + {b} = {a + b} apples.\nOf these {c} go, {a + b} - {c} = {a + b - c} remain.{extra}"
    return {"question": f"Row {index}: {a} apples and {b} more, {c} go?", "answer": f"{steps}\n#### {a + b - c}"}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and in `make gpu-test` a GPU."""
    return device_named(request.param)


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(_row(i)) + "\n" for i in range(NUM_ROWS)))
    return path


@pytest.fixture(scope="session")
def tokenizer_dir(rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE that joins a space with the number after it, so that `#### 12` straddles the Key's start."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    texts = [value for line in rows_file.read_text().splitlines() for value in json.loads(line).values()]
    tokenizer.train_from_iterator(texts + [f" {n}" for n in range(30) for _ in range(20)], trainer)
    folder = tmp_path_factory.mktemp("tokenizer") / "bpe"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(str(folder))
    return folder


def _build(rows_file: Path, tokenizer: Path, out: Path, template: str) -> Path:
    build(BuildConfig(source="gsm8k", inputs=(str(rows_file),), tokenizer=str(tokenizer), template=template), out)
    return out


@pytest.fixture(scope="session")
def data_dir(rows_file: Path, tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(rows_file, tokenizer_dir, tmp_path_factory.mktemp("data") / "tagged", "sftkey")


@pytest.fixture(scope="session")
def straddling_dir(rows_file: Path, tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(rows_file, tokenizer_dir, tmp_path_factory.mktemp("data") / "hash", "hash")


@pytest.fixture(scope="session")
def prepared(data_dir: Path) -> TrainingSet:
    return read_training_set(data_dir)


@pytest.fixture(scope="session")
def straddling(straddling_dir: Path) -> TrainingSet:
    return read_training_set(straddling_dir)


@pytest.fixture
def tiny_model() -> Callable[..., PreTrainedModel]:
    """A function from a family's name to a small random fp32 model of it."""

    def make(family: str, **changes: Any) -> PreTrainedModel:
        torch.manual_seed(1)
        sizes = {"vocab_size": 512, "pad_token_id": None, "bos_token_id": None, "eos_token_id": 0}
        config = AutoConfig.for_model(family, **{**sizes, **TINY[family], **changes})
        attention = "eager" if family in EAGER else None
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attention
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "q_norm" not in name and "k_norm" not in name:  # else attention would see one token alone
                    parameter.mul_(4.0)  # far from uniform predictions, so that a wrong position shows
        return model

    return make


@pytest.fixture
def tables(data_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """A small complete recipe as TOML tables, to change and write with `write_recipe`."""
    config = {"model_type": "llama", **TINY["llama"], "max_position_embeddings": 256, "attention_dropout": 0.1}
    optimisation = {"batch_size": 8, "lr": 5e-3, "schedule": "linear", "warmup_steps": 2, "eval_every": 0}
    optimisation["generate_at_end"] = False  # random models write until they are stopped, which takes seconds
    return {
        "name": "tiny",
        "seed": 3,
        "data": str(data_dir),
        "out": str(tmp_path / "run"),
        "threads": 1,
        "model": {"config": config},
        "stage": [
            {"name": "full", "loss_on": "completion", "steps": 6, "save_every": 2, **optimisation},
            {"name": "answer", "loss_on": "answer", "steps": 4, "save_every": 2, **optimisation},
        ],
    }


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A function that writes tables as a TOML file and returns its path."""

    def write(tables: dict[str, Any], name: str = "recipe.toml") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(_lines(tables)) + "\n")
        return path

    return write


def _lines(tables: dict[str, Any]) -> list[str]:
    plain = {key: value for key, value in tables.items() if key != "stage"}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for stage in tables.get("stage", []):
        lines += ["[[stage]]", *(f"{key} = {_toml(value)}" for key, value in stage.items())]
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


@pytest.fixture
def fail(
    tables: dict[str, Any],
    write_recipe: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Runs the command on `tables`, expects exit 1 and one line on stderr, and returns that line."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["sftkey-train", "run", str(write_recipe(tables)), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert caught.value.code == 1
        assert output.out == ""
        line = output.err.removesuffix("\n")
        assert line.startswith("error: ")
        assert "\n" not in line
        assert not Path(tables["out"]).exists()
        return line.removeprefix("error: ")

    return call


@pytest.fixture
def model_dir(tiny_model: Callable[..., PreTrainedModel], tokenizer_dir: Path, tmp_path: Path) -> Path:
    """A pretrained model with the tokenizer that the data were made with."""
    folder = tmp_path / "model"
    tiny_model("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_dir).save_pretrained(folder)
    return folder


@pytest.fixture
def run_with(tables: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]) -> Callable[..., Path]:
    """A function that runs the recipe with some keys changed, to the folder of that name."""

    def call(name: str, *overrides: str) -> Path:
        out = Path(tables["out"]) / name
        list(run_recipe(load_recipe(write_recipe(tables), [f"out={out}", *overrides])))
        return out

    return call
