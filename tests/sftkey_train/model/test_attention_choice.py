"""Attention by name: what is loaded with it, what packs with it, and what is refused before anything is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import read_sealed, write_sealed
from sftkey_train import recipe_run
from sftkey_train.batches.batch import collate
from sftkey_train.batches.packing import pack
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.loop import StageRun, train_stage
from sftkey_train.loss.flash_attention import usual_attention
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.loss.parity import keeps_documents_apart
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.measure.memory_estimate import estimate_memory
from sftkey_train.model.attention_choice import attention_used
from sftkey_train.model.model import check_causal, model_config, untrained_model
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Recipe
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Path]
SHORT = ("stage.0.steps=2", "stage.1.steps=2")
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def recipe(tables: dict[str, Any], write_recipe: Write) -> Callable[..., Recipe]:
    """A function from overrides to the recipe of `tables`, without dropout."""
    tables["model"]["config"]["attention_dropout"] = 0.0

    def make(*overrides: str) -> Recipe:
        return load_recipe(write_recipe(tables), overrides)

    return make


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_examples_are_apart_whichever_attention(attention: str, tiny_model: Make, prepared: TrainingSet) -> None:
    for family in ("llama", "mistral"):  # the second with a window
        model = tiny_model(family)
        model.set_attn_implementation(attention)
        assert keeps_documents_apart(model, prepared.examples.first(4))


@pytest.mark.slow
@torch.no_grad()
def test_packed_losses_of_flex_attention_are_those_of_each_example_alone(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    """No gradient: torch has none of it on a CPU."""
    model, weights = tiny_model("llama"), LOSS_ON_WEIGHTS["completion"]
    alone = [collate([example], weights) for example in prepared.examples.first(3)]
    expected = torch.cat([token_nll(model, batch) for batch in alone])
    model.set_attn_implementation("flex_attention")
    torch.testing.assert_close(token_nll(model, pack(alone)), expected, rtol=1e-5, atol=1e-5)


def test_every_model_of_a_run_has_the_attention_and_the_record_names_it(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def seen(run: StageRun, model: PreTrainedModel) -> None:
        trained.append(model.config._attn_implementation)
        train_stage(run, model)

    monkeypatch.setattr(recipe_run, "train_stage", seen)
    asked = recipe("attention=eager", *SHORT)
    list(run_recipe(asked))
    assert trained == ["eager", "eager"]  # one made from the seed, one loaded
    record = read_sealed(asked.out / "run.json", "")
    assert record["used"] == {"attention": "eager"}
    assert record["recipe"]["attention"] == "eager"
    list(run_recipe(recipe(*SHORT), overwrite=True))
    assert read_sealed(asked.out / "run.json", "")["used"] == {"attention": "sdpa"}


def test_a_run_goes_on_that_was_begun_before_attention_could_be_chosen(recipe: Callable[..., Recipe]) -> None:
    plain = recipe(*SHORT)
    summaries = list(run_recipe(plain))
    assert list(run_recipe(plain)) == summaries
    record = read_sealed(plain.out / "run.json", "")
    assert "attention" not in record["recipe"]
    write_sealed(plain.out / "run.json", {key: value for key, value in record.items() if key != "used"})
    assert list(run_recipe(plain)) == summaries


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["attention=sdpaa"], "attention: Input should be 'auto', 'eager', 'sdpa', 'flex_attention', "),
        (["attn_implementation=sdpa"], r"unknown key 'attn_implementation' \(did you mean 'attention'\?\)$"),
        (
            ["attention=flex_attention", "stage.0.prune_last_layer=true"],
            "stage 'full': prune_last_layer does not go with attention = 'flex_attention', which takes no mask of its",
        ),
    ],
    ids=["unknown", "transformers-word", "pruned"],
)
def test_a_recipe_names_only_what_there_is(settings: list[str], message: str, recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(SFTKeyError, match=message):
        recipe(*settings)


@pytest.mark.parametrize(
    ("settings", "device", "message"),
    [
        (["attention=flash_attention_2"], CPU, "'flash_attention_2' needs a GPU, found device 'cpu'$"),
        (["attention=flash_attention_2"], GPU, "'flash_attention_2' needs precision = 'bf16', found 'fp32'$"),
        (["attention=flash_attention_3", "precision=bf16"], GPU, "'flash_attention_3' needs flash-attn-3, not install"),
        (["attention=flex_attention"], CPU, "'flex_attention' does not train on a CPU, as torch has no gradient of it"),
        (
            ["attention=flex_attention", "model.config.attention_dropout=0.1"],
            GPU,
            r"'flex_attention' has no dropout, found attention_dropout = 0\.1$",
        ),
        (
            ["attention=sdpa", 'model.config={model_type="falcon_mamba"}'],
            CPU,
            "'sdpa' is not for FalconMambaForCausalLM in transformers; expected 'auto'$",
        ),
        (
            ["attention=sdpa", 'model.config={model_type="gemma2", head_dim=8, num_hidden_layers=1}'],
            CPU,
            "'sdpa' leaves out the soft-capping of Gemma2ForCausalLM; expected 'auto' or 'eager'$",
        ),
    ],
    ids=["no-gpu", "fp32", "not-installed", "no-gradient", "no-dropout", "no-attention", "soft-capped"],
)
def test_what_cannot_work_is_refused_in_one_line(
    settings: list[str], device: torch.device, message: str, recipe: Callable[..., Recipe]
) -> None:
    asked = recipe(*settings)
    config = model_config(asked.model, read_training_set(asked.data).tokenizer)
    with pytest.raises(SFTKeyError, match=f"^attention = {message}"):
        attention_used(asked, config, device)


def test_it_is_refused_before_anything_is_written(tables: dict[str, Any], fail: Callable[..., str]) -> None:
    assert fail("--set", "attention=flash_attention_2").startswith("attention = 'flash_attention_2' needs a GPU")


def test_auto_comes_to_what_transformers_chooses(tiny_model: Make, recipe: Callable[..., Recipe]) -> None:
    for family in ("llama", "gemma2"):
        model = tiny_model(family)
        before = model.config._attn_implementation
        assert attention_used(recipe(), model.config, CPU) == untrained_model(model.config).config._attn_implementation
        assert model.config._attn_implementation == before


def test_memory_counts_what_eager_attention_keeps(tiny_model: Make, prepared: TrainingSet) -> None:
    batch = collate(prepared.examples.first(2), LOSS_ON_WEIGHTS["completion"])
    config = tiny_model("llama").config
    eager, fused = (estimate_memory(config, batch, "fp32", attention=name).activations for name in ("eager", "auto"))
    assert eager - fused > 0.9 * 2 * 2 * 4 * batch.input_ids.shape[1] ** 2 * 4  # layers, examples, heads, fp32


def _half_only(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    if query.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
        raise RuntimeError("FlashAttention only supports fp16 and bf16 data type")
    return sdpa_attention_forward(module, query, key, value, mask, **kwargs)


def test_nothing_is_tried_in_fp32_where_attention_takes_half_precision_alone(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    """A stand-in with FlashAttention's condition, as the kernel itself needs a GPU."""
    AttentionInterface.register("flash_stand_in", _half_only)
    AttentionMaskInterface.register("flash_stand_in", sdpa_mask)
    model = tiny_model("llama")
    model.config._attn_implementation = "flash_stand_in"
    with pytest.raises(RuntimeError, match="only supports"):
        model(input_ids=torch.zeros(1, 3, dtype=torch.long))
    check_causal(model)
    assert logits_are_plain(model)
    assert keeps_documents_apart(model, prepared.examples.first(3), "bf16")
    with usual_attention(model):
        model(input_ids=torch.zeros(1, 3, dtype=torch.long))
    assert model.config._attn_implementation == "flash_stand_in"
