"""Adapters: nothing else is trained, checkpoints are small, the result loads by itself, stages share one adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.model.adapter_merge import check_merges, merged_weights
from sftkey_train.model.lora import ADAPTER_FILE, add_adapter, save_adapter
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
from sftkey_train.recipe_tables import Lora

Write = Callable[[dict[str, Any]], Path]
Make = Callable[..., PreTrainedModel]
IDS = torch.arange(3, 40)[None]


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=IDS).logits
    return logits


def _randomise(model: PreTrainedModel) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name or ".lora_embedding_A." in name or ".lora_embedding_B." in name:
                parameter.normal_(std=0.2)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma2"])
def test_a_fresh_adapter_changes_nothing_and_a_trained_one_merges(
    family: str, tiny_model: Make, tmp_path: Path
) -> None:
    model = tiny_model(family)
    plain = _logits(model)
    add_adapter(model, Lora(r=4), seed=0)
    torch.testing.assert_close(_logits(model), plain)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".lora_" in name} != set()
    _randomise(model)
    adapted = _logits(model)
    assert float((adapted - plain).abs().max()) > 0.3
    model.save_pretrained(tmp_path / "merged", state_dict=merged_weights(model, model.state_dict()))
    torch.testing.assert_close(_logits(model), adapted)  # merging has left the model as it was
    merged, loading = AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", attn_implementation=model.config._attn_implementation, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(_logits(merged), adapted, rtol=1e-3, atol=1e-3)
    save_adapter(model, model.state_dict(), tmp_path / "adapter")
    again = PeftModel.from_pretrained(tiny_model(family), str(tmp_path / "adapter"))
    torch.testing.assert_close(_logits(again), adapted)


MIXTRAL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}


def _mixtral() -> PreTrainedModel:
    torch.manual_seed(1)
    config = AutoConfig.for_model("mixtral", vocab_size=512, num_hidden_layers=1, num_local_experts=2, **MIXTRAL)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


KINDS = [
    ("llama", ("embed_tokens",)),
    ("llama", ("lm_head", "v_proj")),
    ("gpt2", ("wpe", "c_attn")),
    ("mixtral", ("w1", "w3")),  # two layers of each expert, in one fused weight of all experts
    ("mixtral", ("w1", "w2", "w3", "q_proj")),
]


@pytest.mark.parametrize(("family", "targets"), KINDS, ids=str)
def test_every_kind_of_layer_merges(family: str, targets: tuple[str, ...], tiny_model: Make, tmp_path: Path) -> None:
    def made() -> PreTrainedModel:
        return _mixtral() if family == "mixtral" else tiny_model(family)

    model = made()
    plain, shapes = _logits(model), {name: value.shape for name, value in model.state_dict().items()}
    add_adapter(model, Lora(r=4, target_modules=targets), seed=0)
    _randomise(model)
    adapted, merged = _logits(model), merged_weights(model, model.state_dict())
    assert float((adapted - plain).abs().max()) > 0.001
    assert {name: value.shape for name, value in merged.items()} == shapes
    again = made()
    again.load_state_dict(merged)
    torch.testing.assert_close(_logits(again), adapted, rtol=1e-3, atol=1e-4)
    save_adapter(model, model.state_dict(), tmp_path)
    other = made()
    add_adapter(other, Lora(r=4, target_modules=targets), seed=9, folder=tmp_path)
    torch.testing.assert_close(_logits(other), adapted)


MAMBA = {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}
JAMBA = {**MIXTRAL, "num_hidden_layers": 2, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1}
JAMBA |= {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False}


@pytest.mark.parametrize(
    ("family", "sizes", "targets"),
    [("mamba", MAMBA, ("dt_proj",)), ("jamba", JAMBA, "all-linear"), ("jamba", JAMBA, ("q_proj", "dt_proj"))],
    ids=["mamba", "jamba", "jamba-dt"],
)
def test_an_adapter_that_the_model_reads_past_is_refused(family: str, sizes: dict[str, Any], targets: Any) -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, vocab_size=512, **sizes))
    add_adapter(model, Lora(r=4, target_modules=targets), seed=0)
    with pytest.raises(SFTKeyError, match=r"lora: an adapter on '.*dt_proj' cannot be merged, as .* reads its weight"):
        check_merges(model)


@pytest.mark.parametrize(("family", "targets"), [*KINDS, ("gemma2", "all-linear"), ("gpt2", "all-linear")], ids=str)
def test_what_merges_is_let_through_and_left_as_it_is(family: str, targets: Any, tiny_model: Make) -> None:
    model = (_mixtral() if family == "mixtral" else tiny_model(family)).train()
    add_adapter(model, Lora(r=4, target_modules=targets), seed=0)
    _randomise(model)  # as trained
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state()
    check_merges(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_step_is_taken_with_an_adapter_that_cannot_be_merged(tables: dict[str, Any], write_recipe: Write) -> None:
    tables |= {"model": {"config": {"model_type": "mamba", **MAMBA}}, "lora": {"target_modules": ["dt_proj"]}}
    with pytest.raises(SFTKeyError, match="dt_proj' cannot be merged"):
        list(run_recipe(load_recipe(write_recipe(tables))))
    assert not Path(tables["out"]).exists()


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_adapter_on_a_weight_that_two_layers_share_is_refused(target: str, tiny_model: Make) -> None:
    with pytest.raises(SFTKeyError, match=rf"lora: '.*{target}' shares its weight with '.*', so an adapter on one can"):
        add_adapter(tiny_model("qwen2"), Lora(target_modules=(target,)), seed=0)


def test_an_adapter_of_other_sizes_is_refused(tiny_model: Make, tmp_path: Path) -> None:
    model = tiny_model("llama")
    add_adapter(model, Lora(r=4), seed=0)
    save_adapter(model, model.state_dict(), tmp_path)
    with pytest.raises(SFTKeyError, match="holds another adapter than the recipe describes in 'lora'"):
        add_adapter(tiny_model("llama"), Lora(r=8), seed=0, folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"cut", None], ids=["empty", "cut", "gone"])
def test_an_adapter_that_cannot_be_read_is_one_line(content: bytes | None, tiny_model: Make, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / ADAPTER_FILE).write_bytes(content)
    with pytest.raises(SFTKeyError) as caught:
        add_adapter(tiny_model("llama"), Lora(r=4), seed=0, folder=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / ADAPTER_FILE} cannot be read: ")


def test_layers_that_are_not_there_are_one_line(tiny_model: Make) -> None:
    with pytest.raises(SFTKeyError) as caught:
        add_adapter(tiny_model("llama"), Lora(target_modules=("w_proj",)), seed=0)
    assert str(caught.value).startswith("lora: target_modules ['w_proj']: ")
    assert "\n" not in str(caught.value)


def test_the_seed_decides_the_first_matrices(tiny_model: Make) -> None:
    models = [tiny_model("llama") for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        add_adapter(model, Lora(r=2, target_modules=("q_proj",)), seed=seed)
    one, same, other = (m.model.layers[0].self_attn.q_proj.lora_A.default.weight for m in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_two_stages_train_one_adapter_on_a_model_that_stays(
    tables: dict[str, Any], write_recipe: Write, tiny_model: Make, tokenizer_dir: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    tiny_model("llama").save_pretrained(base)
    AutoTokenizer.from_pretrained(tokenizer_dir).save_pretrained(base)
    tables |= {"model": {"path": str(base)}, "lora": {"r": 2, "alpha": 8, "target_modules": ["q_proj", "v_proj"]}}
    (full, answer) = run_recipe(load_recipe(write_recipe(tables)))
    plain = AutoModelForCausalLM.from_pretrained(base)
    after = [AutoModelForCausalLM.from_pretrained(summary["final"]) for summary in (full, answer)]
    assert not torch.equal(_logits(after[0]), _logits(after[1]))
    for name, weight in plain.named_parameters():
        changed = not torch.equal(weight, after[1].get_parameter(name))
        assert changed == ("q_proj" in name or "v_proj" in name), name
    adapted = PeftModel.from_pretrained(plain, f"{answer['final']}/adapter")
    torch.testing.assert_close(_logits(adapted), _logits(after[1]), rtol=1e-4, atol=1e-4)


def test_the_second_stage_goes_on_with_the_adapter_of_the_first(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["lora"] = {"r": 2, "target_modules": ["q_proj"]}
    (full, answer) = run_recipe(load_recipe(write_recipe(tables), ["stage.answer.lr=1e-12"]))
    first, second = (load_file(Path(summary["final"]) / "adapter" / ADAPTER_FILE) for summary in (full, answer))
    assert any(weight.abs().max() > 1e-3 for name, weight in first.items() if "lora_B" in name)
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=0, atol=1e-9, msg=name)


def test_a_checkpoint_holds_the_adapter_alone(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["lora"] = {"r": 2, "target_modules": ["q_proj"]}
    monkeypatch.setattr("sftkey_train.checkpoint.stage_outputs.drop_checkpoints", lambda *_: None)
    list(run_recipe(load_recipe(write_recipe(tables))))
    checkpoint, final = (Path(tables["out"]) / "full" / name for name in ("checkpoint-6", "final"))
    assert {"adapter_model.safetensors", "training.pt"} <= {path.name for path in checkpoint.iterdir()}
    assert not (checkpoint / "model.safetensors").exists()
    assert sum(path.stat().st_size for path in checkpoint.iterdir()) < (final / "model.safetensors").stat().st_size / 3
