"""What a small configuration becomes, and that nothing appears half-written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel

from sftkey_train.checkpoint import StageFolder, appearing, write_file
from sftkey_train.model import initial_model, load_model, model_config
from sftkey_train.prepared import Prepared
from sftkey_train.recipe import ModelSource

TINY = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}


def test_a_small_model_takes_vocabulary_and_special_ids_from_the_tokenizer(prepared: Prepared) -> None:
    config = model_config(ModelSource(config={"model_type": "llama", **TINY}), prepared.tokenizer)
    assert config.vocab_size == len(prepared.tokenizer)
    assert config.eos_token_id == prepared.tokenizer.eos_token_id == 0
    assert config.bos_token_id is None
    assert config.pad_token_id is None


def test_what_the_recipe_says_about_the_vocabulary_wins(prepared: Prepared) -> None:
    config = model_config(ModelSource(config={"model_type": "llama", "vocab_size": 512, **TINY}), prepared.tokenizer)
    assert config.vocab_size == 512


def test_the_eos_is_never_the_padding_token_of_the_embedding(tokenizer_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.pad_token = tokenizer.eos_token
    assert model_config(ModelSource(config={"model_type": "llama", **TINY}), tokenizer).pad_token_id is None


def test_initial_weights_follow_from_the_seed(prepared: Prepared) -> None:
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
        with appearing(tmp_path / "final") as partial:
            (partial / "one").write_text("1")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert not (tmp_path / "final").exists()
    with appearing(tmp_path / "final") as partial:
        (partial / "two").write_text("2")
        assert not (tmp_path / "final").exists()
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_the_latest_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path)
    assert (folder.latest_step, folder.latest, folder.finished) == (0, None, False)
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11.partial"):
        (tmp_path / name).mkdir()
    assert folder.latest == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("content", ["text", b"bytes"])
def test_a_file_is_replaced_whole(tmp_path: Path, content: Any) -> None:
    write_file(tmp_path / "file", "old")
    write_file(tmp_path / "file", content)
    assert (tmp_path / "file").read_text() == (content if isinstance(content, str) else content.decode())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
