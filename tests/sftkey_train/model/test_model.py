"""What a small configuration becomes, and that nothing appears half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.checkpoint.checkpoint import StageFolder, saving
from sftkey_train.checkpoint.origin import Origin
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.model.model import (
    check_causal,
    initial_model,
    load_model,
    model_config,
    recompute_activations,
    untrained_model,
)
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_tables import ModelSource

TINY = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}


def test_a_small_model_takes_vocabulary_and_special_ids_from_the_tokenizer(prepared: TrainingSet) -> None:
    config = model_config(ModelSource(config={"model_type": "llama", **TINY}), prepared.tokenizer)
    assert config.vocab_size == len(prepared.tokenizer)
    assert config.eos_token_id == prepared.tokenizer.eos_token_id == 0
    assert config.bos_token_id is None
    assert config.pad_token_id is None


def test_what_the_recipe_says_about_the_vocabulary_wins(prepared: TrainingSet) -> None:
    config = model_config(ModelSource(config={"model_type": "llama", "vocab_size": 512, **TINY}), prepared.tokenizer)
    assert config.vocab_size == 512


def test_the_eos_is_never_the_padding_token_of_the_embedding(tokenizer_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.pad_token = tokenizer.eos_token
    assert model_config(ModelSource(config={"model_type": "llama", **TINY}), tokenizer).pad_token_id is None


def test_initial_weights_follow_from_the_seed(prepared: TrainingSet) -> None:
    source = ModelSource(config={"model_type": "qwen2", **TINY, "num_key_value_heads": 1})
    config = model_config(source, prepared.tokenizer)
    one, same, other = (initial_model(source, config, seed) for seed in (1, 1, 2))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.dtype == torch.float32


def test_soft_capped_attention_is_computed_eagerly(tiny_model: Callable[..., PreTrainedModel], tmp_path: Path) -> None:
    tiny_model("gemma2").save_pretrained(tmp_path / "gemma2")
    tiny_model("llama").save_pretrained(tmp_path / "llama")
    assert load_model(tmp_path / "gemma2").config._attn_implementation == "eager"
    assert load_model(tmp_path / "llama").config._attn_implementation == "sdpa"


def test_a_half_precision_model_is_trained_in_single_precision(
    tiny_model: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    tiny_model("llama").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    assert load_model(tmp_path / "half").dtype == torch.float32


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def write_half() -> None:
        with saving(tmp_path / "final") as partial:
            (partial / "one").write_text("1")
            raise OSError(28, "No space left on device")

    with pytest.raises(SFTKeyError, match="final cannot be written: No space left on device; what was there"):
        write_half()
    assert list(tmp_path.iterdir()) == []
    with saving(tmp_path / "final") as partial:
        (partial / "two").write_text("2")
        assert not (tmp_path / "final").exists()
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_the_latest_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, Origin("run", "stage"))
    assert (folder.latest_step, folder.latest, folder.finished) == (0, None, False)
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11.partial"):
        (tmp_path / name).mkdir()
    assert folder.latest == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_weights_that_are_only_a_pickle_are_refused_by_name(
    name: str, tiny_model: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / name)
    load_model(tmp_path)  # beside safetensors a pickle is not looked at
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SFTKeyError) as caught:
        load_model(tmp_path)
    assert str(caught.value).startswith(
        f"model '{tmp_path}' has its weights only as {name}, expected *.safetensors: load it once"
    )


REMOTE_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_that_comes_with_a_model_runs_only_when_asked_for(
    tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    tiny_model("llama").save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto_map}))
    (folder / "own.py").write_text(REMOTE_CODE)
    with pytest.raises(SFTKeyError) as caught:
        model_config(ModelSource(path=str(folder)), prepared.tokenizer)
    assert str(caught.value) == (
        f"model '{folder}' comes with Python code of its own (model_type 'own'), which is not run unless asked for: "
        "read it, then set model.trust_remote_code = true"
    )
    source = ModelSource(path=str(folder), trust_remote_code=True)
    model = initial_model(source, model_config(source, prepared.tokenizer), 0)
    assert type(model).__name__ == "OwnModel"
    assert type(untrained_model(model.config)).__name__ == "OwnModel"  # as the dry run makes it: no question on stdin
    model.save_pretrained(tmp_path / "again")
    assert type(load_model(tmp_path / "again", trust_remote_code=True)).__name__ == "OwnModel"


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma2"])
def test_gradient_checkpointing_changes_no_gradient(
    family: str, tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet
) -> None:
    dropout = {"attn_pdrop": 0.2} if family == "gpt2" else {"attention_dropout": 0.2}
    batch, gradients = collate(prepared.examples.first(4), LOSS_ON_WEIGHTS["completion"]), []
    for checkpointing in (False, True):
        model = tiny_model(family, **dropout).train()
        if checkpointing:
            recompute_activations(model)
        torch.manual_seed(7)
        token_nll(model, batch).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, recomputed = gradients
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)


def test_every_family_is_causal(family: str, tiny_model: Callable[..., PreTrainedModel]) -> None:
    model = tiny_model(family).train()
    check_causal(model)
    assert model.training


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_an_encoder_with_an_output_layer_is_refused(family: str) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(family, vocab_size=64, **sizes)
    with pytest.raises(SFTKeyError, match=r"is not causal: what it predicts, it has already seen"):
        check_causal(AutoModelForCausalLM.from_config(config))
    config.is_decoder = True
    check_causal(AutoModelForCausalLM.from_config(config))
