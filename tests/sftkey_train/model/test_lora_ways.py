"""DoRA, and modules that are trained beside an adapter: merged, read by peft, resumed, handed on, refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from processes import final_weights, metric_rows
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.model.adapter_merge import check_merges, merged_weights
from sftkey_train.model.lora import ADAPTER_FILE, add_adapter, save_adapter
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
from sftkey_train.recipe_tables import Lora

Write = Callable[[dict[str, Any]], Path]
Make = Callable[..., PreTrainedModel]
IDS = torch.arange(3, 40)[None]
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("llama", {"dora": True}),
    "dora, transposed": ("gpt2", {"dora": True}),
    "dora, output layer": ("llama", {"dora": True, "target_modules": ("lm_head", "v_proj")}),
    "dora, embeddings": ("llama", {"dora": True, "target_modules": ("embed_tokens",)}),
    "output layer": ("llama", {"modules_to_save": ("lm_head",)}),
    "embeddings and output layer": ("llama", {"modules_to_save": ("embed_tokens", "lm_head")}),
    "embeddings that are the output layer": ("qwen2", {"modules_to_save": ("embed_tokens",)}),
    "norms": ("llama", {"modules_to_save": ("norm", "input_layernorm"), "dora": True}),
    "a matrix of each layer": ("llama", {"modules_to_save": ("up_proj",)}),
}


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=IDS).logits
    return logits


def _randomise(model: PreTrainedModel) -> None:
    """As if trained."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("way", WAYS)
def test_it_changes_nothing_at_first_and_merges_once_trained(way: str, tiny_model: Make, tmp_path: Path) -> None:
    family, options = WAYS[way]
    model, lora = tiny_model(family), Lora(r=4, **options)
    plain = _logits(model)
    add_adapter(model, lora, seed=0)
    torch.testing.assert_close(_logits(model), plain, rtol=1e-4, atol=1e-4)
    check_merges(model)
    _randomise(model)
    adapted = _logits(model)
    assert float((adapted - plain).abs().max()) > 0.1
    check_merges(model)
    merged = tiny_model(family)
    merged.load_state_dict(merged_weights(model, model.state_dict()))
    torch.testing.assert_close(_logits(merged), adapted, rtol=1e-3, atol=1e-3)

    save_adapter(model, model.state_dict(), tmp_path)
    again = tiny_model(family)
    add_adapter(again, lora, seed=9, folder=tmp_path)
    torch.testing.assert_close(_logits(again), adapted, rtol=0, atol=0)
    theirs = PeftModel.from_pretrained(tiny_model(family), str(tmp_path))
    torch.testing.assert_close(_logits(theirs), adapted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(_logits(theirs.merge_and_unload()), adapted, rtol=1e-3, atol=1e-3)


def test_what_is_named_is_trained_beside_the_adapter_and_nothing_else(tiny_model: Make) -> None:
    model = tiny_model("llama")
    add_adapter(model, Lora(r=2, target_modules=("q_proj",), modules_to_save=("lm_head",), dora=True), seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = {f"model.layers.{i}.self_attn.q_proj" for i in range(2)}
    parts = ("lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector.default.weight")
    assert trained == {"lm_head.weight"} | {f"{layer}.{part}" for layer in layers for part in parts}


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (
            "llama",
            {"modules_to_save": ("lm_haed",)},
            r"modules_to_save: no module is named 'lm_haed' \(did you",
        ),
        ("llama", {"modules_to_save": ("layers",)}, "modules_to_save: 'model.layers' is a list of modules"),
        ("qwen2", {"modules_to_save": ("lm_head",)}, "modules_to_save: 'lm_head' shares its weight with the input emb"),
    ],
)
def test_modules_that_cannot_be_trained_beside_are_refused(
    family: str, options: Any, message: str, tiny_model: Make
) -> None:
    with pytest.raises(SFTKeyError, match=f"^lora: {message}"):
        add_adapter(tiny_model(family), Lora(r=2, **options), seed=0)


def test_dora_on_experts_which_peft_does_not_have_is_refused(tiny_model: Make) -> None:
    from test_lora import _mixtral

    with pytest.raises(SFTKeyError, match=r"^lora: target_modules \['w1', 'w3'\]: .*use_dora"):
        add_adapter(_mixtral(), Lora(r=2, target_modules=("w1", "w3"), dora=True), seed=0)


def test_a_module_in_both_lists_is_refused(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["lora"] = {"target_modules": ["lm_head"], "modules_to_save": ["lm_head"]}
    with pytest.raises(SFTKeyError, match=r"lora: 'lm_head' is in target_modules and in modules_to_save, expected it"):
        load_recipe(write_recipe(tables))


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


def test_stages_hand_it_on_and_a_stopped_run_goes_on_to_the_same_bits(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["lora"] = {
        "r": 2,
        "dropout": 0.1,
        "dora": True,
        "target_modules": ["q_proj"],
        "modules_to_save": ["lm_head"],
    }
    tables["stage"] = [stage | {"steps": 3} for stage in tables["stage"]]
    recipe, append = load_recipe(write_recipe(tables)), MetricsLog.append
    whole = recipe.out.with_name("whole")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={whole}"])))

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        append(log, row)
        if (row["stage"], row["step"]) == ("answer", 3):
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    assert "base_model.model.lm_head.weight" in load_file(recipe.out / "answer" / "checkpoint-2" / ADAPTER_FILE)
    full, answer = run_recipe(recipe)
    weights, expected = final_weights(recipe.out), final_weights(whole)
    assert weights.keys() == expected.keys()
    assert [name for name, weight in weights.items() if not torch.equal(weight, expected[name])] == []
    assert metric_rows(recipe.out) == metric_rows(whole)

    first, second = (AutoModelForCausalLM.from_pretrained(summary["final"]) for summary in (full, answer))
    changed = {n for n, p in second.named_parameters() if not torch.equal(p, first.get_parameter(n))}
    assert changed == {"lm_head.weight", *(f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2))}
