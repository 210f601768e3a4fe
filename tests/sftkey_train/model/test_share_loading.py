"""Weights that each process reads into its share are those that all would read whole; with real processes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_together
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Transpose, WeightConverter

from sftkey_train import ranks
from sftkey_train.loss.comparison import let_go
from sftkey_train.model.model import load_model
from sftkey_train.model.sharding import is_sharded, whole_state
from sftkey_train.model.share_loading import load_in_shares

CPU = torch.device("cpu")
IN_PARTS = "llama"


@torch.no_grad()
def _check_loaded(folders: Sequence[Path]) -> None:
    with ranks.process_group(cuda=False):
        for folder in folders:
            model, whole = load_in_shares(folder, device=CPU), load_model(folder)
            assert model is not None
            assert is_sharded(model)
            held = sum(parameter.to_local().numel() for parameter in model.parameters())
            assert held < 0.4 * whole.num_parameters()
            assert [(n, p.shape) for n, p in model.named_parameters()] == [
                (n, p.shape) for n, p in whole.named_parameters()
            ]
            buffers, others = dict(model.named_buffers()), dict(whole.named_buffers())
            assert buffers.keys() == others.keys()
            assert [name for name, buffer in buffers.items() if not torch.equal(buffer, others[name])] == []
            ids = torch.tensor([[1, 5, 9, 2]])
            assert torch.equal(model(input_ids=ids).logits, whole(input_ids=ids).logits)
            let_go(model)
            state, expected = whole_state(model), whole.state_dict()
            assert state.keys() == (expected.keys() if ranks.is_main() else set())
            assert [name for name in state if not torch.equal(state[name], expected[name])] == []
            assert model.config.to_dict() == whole.config.to_dict()
            assert model.generation_config.to_dict() == whole.generation_config.to_dict()
            assert model.training is whole.training is False
            with torch.enable_grad():
                model(input_ids=ids).logits.sum().backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
            reference = load_in_shares(folder, learns=False, device=CPU)
            assert torch.equal(reference(input_ids=ids).logits, whole(input_ids=ids).logits)
            assert not any(parameter.requires_grad for parameter in reference.parameters())


@pytest.mark.parametrize(
    "families",
    [
        [IN_PARTS],
        # Tied weights; transposed matrices and tables of positions; buffers that are in no file.
        pytest.param(["qwen2", "gpt2", "gemma3_text"], marks=pytest.mark.slow),
    ],
    ids=["several_files_in_bf16", "other_families"],
)
def test_each_process_reads_its_share_of_what_all_would_read_whole(
    families: Sequence[str], tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    for family in families:
        model, is_large = tiny_model(family), family == IN_PARTS
        model.generation_config.eos_token_id = [0, 5]
        (model.bfloat16() if is_large else model).save_pretrained(
            tmp_path / family, max_shard_size="40KB" if is_large else "1GB"
        )
    assert len([*tmp_path.rglob("*.safetensors")]) >= 3
    assert run_together(3, _check_loaded, [tmp_path / family for family in families]) == [0, 0, 0]


def _without_one(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["lm_head.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def _wider(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 64}))


@pytest.mark.parametrize("change", [_without_one, _wider])
def test_files_that_do_not_fit_are_left_to_the_usual_way_to_refuse(
    change: Callable[[Path], None], tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    change(tmp_path)
    assert load_in_shares(tmp_path, device=CPU) is None


def test_weights_that_are_put_together_of_several_are_left_to_the_usual_way(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model("mixtral", **sizes, num_key_value_heads=2, num_local_experts=2, vocab_size=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert load_in_shares(tmp_path, device=CPU) is None


def test_weights_that_are_turned_round_under_their_own_name_are_left_to_the_usual_way(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    turned = WeightConverter("q_proj.weight", "q_proj.weight", operations=[Transpose(0, 1)])
    register_checkpoint_conversion_mapping("LlamaForCausalLM", [turned])
    try:
        assert load_in_shares(tmp_path, device=CPU) is None
    finally:
        register_checkpoint_conversion_mapping("LlamaForCausalLM", [], overwrite=True)


def test_a_folder_without_safetensors_is_left_to_the_usual_way(tmp_path: Path) -> None:
    assert load_in_shares(tmp_path, device=CPU) is None
