"""What the recipes and their README promise: memory, estimated for the real shapes of the models, and settings."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from sftkey_train.batches.batch import Batch, Example, collate
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.loss.objective import selected_regions
from sftkey_train.measure.memory_estimate import estimate_memory
from sftkey_train.recipe import Recipe, Stage
from sftkey_train.recipe_file import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "train" / "recipes"
NUM_TOKENS = 512  # the longest examples of GSM8K are shorter
# Qwen2.5-3B's config.json
QWEN = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16}
QWEN |= {"num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}


def _largest(stage: Stage) -> Batch:
    borders = RegionBorders(100, NUM_TOKENS - 12, NUM_TOKENS - 8, NUM_TOKENS - 5, NUM_TOKENS - 1, NUM_TOKENS)
    example = Example("longest", torch.arange(NUM_TOKENS), borders)
    return collate([example] * (stage.micro_batch_size or stage.batch_size), selected_regions(stage))


def _gigabytes(recipe: Recipe, stage: Stage) -> float:
    estimate = estimate_memory(
        AutoConfig.for_model("qwen2", **QWEN),
        _largest(stage),
        recipe.precision,
        lora=recipe.lora,
        gradient_checkpointing=recipe.gradient_checkpointing,
    )
    return estimate.total / 1e9


@pytest.mark.slow
def test_lora_on_a_model_of_three_billion_weights_fits_a_gpu_of_24_gigabytes() -> None:
    recipe = load_recipe(RECIPES / "lora_qwen2.5-3b.toml")
    needed = {stage.name: _gigabytes(recipe, stage) for stage in recipe.stages}
    assert min(needed.values()) > 12.3
    assert max(needed.values()) < 24 - 2, needed  # what the estimate leaves out needs room, too


@pytest.mark.slow
def test_the_same_without_an_adapter_does_not() -> None:
    recipe = load_recipe(RECIPES / "lora_qwen2.5-3b.toml").model_copy(update={"lora": None})
    assert _gigabytes(recipe, recipe.stages[0]) > 48


@pytest.mark.parametrize("cell", ["paper_qwen2.5-1.5b", "paper_qwen2.5-3b", "paper_smollm3-3b"])
def test_every_setting_that_the_readme_names_fits_the_papers_cells(cell: str) -> None:
    text = (RECIPES / "README.md").read_text(encoding="utf-8").replace("$data", "data/qwen2.5")
    built = set(re.findall(r"--out (\S+)", text)) | set(re.findall(r"or --out (\S+?)`?$", text, re.M))
    lines = [re.findall(r"--set ([^\s`]+)", line) for line in text.splitlines() if "--set " in line]
    assert len(lines) >= 5
    data = [recipe.data for settings in lines if (recipe := load_recipe(RECIPES / f"{cell}.toml", settings))]
    changed = {str(path) for path in data} - {str(load_recipe(RECIPES / f"{cell}.toml").data)}
    assert len(changed) == 3
    assert changed <= built
