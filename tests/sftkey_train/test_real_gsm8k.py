"""Real GSM8K rows with real tokenizers: the Key is what stage 2 learns, and both stages run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.prepared.shards import open_shards
from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.model.model import initial_model, model_config
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
from sftkey_train.recipe_tables import ModelSource

SMALL = {"model_type": "qwen2", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}


@pytest.fixture(scope="module")
def gsm8k(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], TrainingSet]:
    """A function that builds the first rows with a real tokenizer and a template."""

    def make(tokenizer: str, template: str) -> TrainingSet:
        out = tmp_path_factory.mktemp("gsm8k") / "data"
        rows, folder = shared_data / "raw/gsm8k/train.jsonl", shared_data / "tokenizers" / tokenizer
        values = {
            "source": "gsm8k",
            "inputs": (str(rows),),
            "tokenizer": str(folder),
            "template": template,
            "limit": 24,
        }
        build(BuildConfig(**values), out)
        return read_training_set(out)

    return make


@pytest.mark.parametrize(
    ("tokenizer", "template"), [("qwen2.5", "sftkey"), ("gpt2", "sftkey"), ("gpt2", "hash"), ("phi-3-mini", "hash")]
)
def test_the_key_is_learned_whole_and_with_nothing_before_it(
    tokenizer: str, template: str, gsm8k: Callable[[str, str], TrainingSet]
) -> None:
    data = gsm8k(tokenizer, template)
    table = open_shards(data.path, columns=["gold", "straddle"])
    for example, gold in zip(data.examples.first(24), table["gold"].to_pylist(), strict=True):
        assert data.tokenizer.decode(collate([example], LOSS_ON_WEIGHTS["key"]).labels.tolist()).strip() == gold
    straddles = sum(bool(bits) for bits in table["straddle"].to_pylist())
    assert straddles == (24 if (tokenizer, template) == ("gpt2", "hash") else 0)


def test_gradients_of_stage_2_come_exactly_from_the_positions_that_predict_the_key(
    gsm8k: Callable[[str, str], TrainingSet],
) -> None:
    data = gsm8k("gpt2", "hash")
    source = ModelSource(config=SMALL)
    model = initial_model(source, model_config(source, data.tokenizer), seed=0)
    hidden: list[torch.Tensor] = []

    def keep(_module: object, _args: object, output: torch.Tensor) -> None:
        if output.requires_grad:  # not when the output layer is tried out
            output.retain_grad()
            hidden.append(output)

    model.model.norm.register_forward_hook(keep)
    examples = data.examples.first(4)
    token_nll(model, collate(examples, LOSS_ON_WEIGHTS["key"])).sum().backward()
    gradient = hidden[0].grad
    assert gradient is not None
    for row, example in zip(gradient, examples, strict=True):
        learning = row.abs().sum(-1).nonzero().flatten().tolist()
        assert learning == list(range(example.borders.key_token_start - 1, example.borders.key_token_end - 1))


@pytest.mark.slow
def test_both_stages_run_on_a_small_model_with_the_real_vocabulary(
    gsm8k: Callable[[str, str], TrainingSet], tables: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    data = gsm8k("qwen2.5", "sftkey")
    tables |= {"data": str(data.path), "model": {"config": SMALL | {"max_position_embeddings": 1024}}}
    for stage in tables["stage"]:
        stage |= {"steps": 2, "batch_size": 2}
    (_, answer) = run_recipe(load_recipe(write_recipe(tables)))
    model = AutoModelForCausalLM.from_pretrained(answer["final"])
    assert model.get_output_embeddings().weight.shape == (len(data.tokenizer), 16)
