"""Optimizers beside AdamW: what they do to which parameters, what they keep, how they resume, what is refused."""

import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows, run_together, train
from torch import Tensor
from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.optimizer import (
    build_optimizer,
    check_optimizer,
    hidden_matrices,
    optimizer_bytes,
    set_learning_rate,
)
from sftkey_train.recipe import OptimizerName, Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run, run_recipe
from sftkey_train.recipe_tables import Lora

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Path]
OTHERS: tuple[OptimizerName, ...] = ("adafactor", "muon", "adamw_8bit")


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest) -> OptimizerName:
    """Each that is installed."""
    if request.param == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    name: OptimizerName = request.param
    return name


def _stage(**options: Any) -> Stage:
    settings = {"name": "s", "loss_on": "key", "steps": 1, "batch_size": 1, "lr": 1e-2, "weight_decay": 0.1}
    return Stage(**{**settings, **options})


def _with_gradients(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) if parameter.requires_grad else None
    return model


def _muons(model: PreTrainedModel) -> set[str]:
    chosen = {id(p) for p in hidden_matrices(model)}
    return {name for name, p in model.named_parameters() if id(p) in chosen}


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gpt_neox"])
def test_muon_is_for_matrices_of_hidden_layers_alone(family: str, tiny_model: Make) -> None:
    model = tiny_model(family)
    outside = ("embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out")
    expected = {n for n, p in model.named_parameters() if p.dim() == 2 and not any(part in n for part in outside)}
    assert _muons(model) == expected
    assert len(expected) >= 8


def test_experts_of_a_layer_in_one_tensor_are_not_muons() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(
        MixtralConfig(**sizes, num_key_value_heads=2, num_local_experts=3, vocab_size=64)
    )
    assert {name.rsplit(".", 2)[-2] for name in _muons(model)} == {"q_proj", "k_proj", "v_proj", "o_proj", "gate"}


def test_muon_is_for_an_adapter_but_not_on_embeddings_and_output_layer(tiny_model: Make) -> None:
    model = tiny_model("llama")
    add_adapter(model, Lora(r=2, target_modules=("q_proj", "embed_tokens", "lm_head")), seed=0)
    assert len(_muons(model)) == 4
    assert all("q_proj.lora_" in name for name in _muons(model))


def test_muon_without_a_matrix_is_refused(tiny_model: Make) -> None:
    model = tiny_model("llama")
    add_adapter(model, Lora(r=2, target_modules=("embed_tokens",)), seed=0)
    with pytest.raises(SFTKeyError, match=r"^stage 's': optimizer = 'muon' has no matrix of a hidden layer to train$"):
        build_optimizer(model, _stage(optimizer="muon"))


def test_muon_steps_as_torchs_own_and_adamw_on_the_rest(tiny_model: Make) -> None:
    model = tiny_model("gpt2")
    before, alike = deepcopy(model), deepcopy(model)
    optimizer = build_optimizer(model, _stage(optimizer="muon"))
    matrices = hidden_matrices(alike)
    rest = [p for p in alike.parameters() if id(p) not in {id(m) for m in matrices}]
    muon = torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    decays = [{"params": [p for p in rest if (p.dim() > 1) == is_matrix]} for is_matrix in (True, False)]
    adamw = torch.optim.AdamW(decays, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    adamw.param_groups[1]["weight_decay"] = 0.0
    for step in range(3):
        _with_gradients(model, step)
        _with_gradients(alike, step)
        for each in (optimizer, muon, adamw):
            each.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), alike.parameters(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))


def test_an_update_of_muon_is_as_large_as_the_learning_rate_says(tiny_model: Make) -> None:
    model = tiny_model("llama")
    before = [p.detach().clone() for p in hidden_matrices(model)]
    build_optimizer(_with_gradients(model), _stage(optimizer="muon", weight_decay=0.0)).step()
    changes = [(p.detach() - q).square().mean().sqrt() for p, q in zip(hidden_matrices(model), before, strict=True)]
    assert [float(change) for change in changes] == pytest.approx([0.2 * 1e-2] * len(changes), rel=0.35)


def test_adafactor_scales_by_rows_and_columns_and_takes_the_rate_as_it_is(tiny_model: Make) -> None:
    model = _with_gradients(tiny_model("llama"))
    weight = model.model.layers[0].mlp.up_proj.weight
    before, gradient = weight.detach().clone(), weight.grad
    assert gradient is not None
    build_optimizer(model, _stage(optimizer="adafactor", weight_decay=0.1)).step()
    square = gradient.square()
    rows, columns = square.mean(1, keepdim=True), square.mean(0, keepdim=True)
    update = gradient / (rows * columns / rows.mean()).sqrt()
    update /= update.square().mean().sqrt().clamp(min=1)
    torch.testing.assert_close(weight, before - 1e-2 * update - 1e-2 * 0.1 * before)


def test_the_rate_reaches_every_parameter_also_after_a_resume(other: OptimizerName, tiny_model: Make) -> None:
    model = tiny_model("gpt2")
    optimizer = build_optimizer(_with_gradients(model), _stage(optimizer=other))
    optimizer.step()
    again = build_optimizer(model, _stage(optimizer=other))
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    set_learning_rate(again, 0.0)
    before = deepcopy(model)
    again.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))


@pytest.mark.parametrize("lora", [None, Lora(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize("name", ["adamw", *OTHERS])
def test_what_an_optimizer_keeps_is_what_is_estimated(name: OptimizerName, lora: Lora | None, tiny_model: Make) -> None:
    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    model = tiny_model("gpt2")
    if lora is not None:
        add_adapter(model, lora, seed=0)
    optimizer = build_optimizer(_with_gradients(model), _stage(optimizer=name))
    optimizer.step()
    # Not counters, and not the table that all tensors of 8 bits share.
    kept = [v for s in optimizer.state.values() for k, v in s.items() if isinstance(v, Tensor) and "qmap" not in k]
    assert optimizer_bytes(model, name) == sum(value.nbytes for value in kept if value.dim())


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


@pytest.mark.parametrize(
    "lora", [None, pytest.param({"r": 2, "dropout": 0.1}, marks=pytest.mark.slow)], ids=["full", "lora"]
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    other: OptimizerName, lora: Any, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables |= {"lora": lora} if lora else {}
    tables["stage"] = [tables["stage"][0] | {"optimizer": other, "steps": 4, "weight_decay": 0.1, "lr": 1e-3}]
    recipe, append = load_recipe(write_recipe(tables)), MetricsLog.append
    whole = recipe.out.with_name("whole")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={whole}"])))

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        append(log, row)
        if row["step"] == 3:
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    list(run_recipe(recipe))
    weights, expected = final_weights(recipe.out), final_weights(whole)
    assert weights.keys() == expected.keys()
    assert [name for name, weight in weights.items() if not torch.equal(weight, expected[name])] == []
    assert metric_rows(recipe.out) == metric_rows(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "fsdp"), [("adafactor", False), ("muon", False), ("muon", True)])
def test_two_processes_train_as_one_does(
    optimizer: OptimizerName, fsdp: bool, tables: dict[str, Any], write_recipe: Write
) -> None:
    del tables["model"]["config"]["attention_dropout"]
    tables["stage"] = [tables["stage"][0] | {"optimizer": optimizer, "steps": 4, "weight_decay": 0.1, "lr": 1e-3}]
    recipe, one, two = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "two"
    train(recipe, [f"out={one}"])
    assert run_together(2, train, recipe, [f"out={two}", f"fsdp={'true' if fsdp else 'false'}"]) == [0, 0]
    for row, other in zip(metric_rows(two), metric_rows(one), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=2e-4)
    weights, same = final_weights(two), final_weights(one)
    for name, weight in same.items():
        # Muon rounds to bf16 on its way, which sends a gradient's last bit far: 5 % of what four steps change.
        most = 0.05 * 4 * 0.2 * 1e-3 if optimizer == "muon" else 2e-5
        assert (weights[name] - weight).square().mean().sqrt() < most, name


@pytest.mark.parametrize(
    ("recipe", "stage", "message"),
    [
        ({}, {"optimizer": "adafactor", "betas": [0.9, 0.99]}, "optimizer = 'adafactor' has no betas, leave them out"),
        (
            {"fsdp": True},
            {"optimizer": "adafactor"},
            "fsdp does not go with optimizer = 'adafactor', whose state is of",
        ),
        ({"fsdp": True}, {"optimizer": "adamw_8bit"}, "fsdp does not go with optimizer = 'adamw_8bit', whose state"),
        (
            {},
            {"optimizer": "adam"},
            "optimizer: Input should be 'adamw', 'adamw_8bit', 'adafactor' or 'muon', found 'a",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    recipe: Any, stage: Any, message: str, tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["stage"][0] |= stage
    with pytest.raises(SFTKeyError) as caught:
        load_recipe(write_recipe(tables | recipe))
    assert f"stage 'full': {message}" in str(caught.value)


def test_eight_bits_without_their_library_are_one_line(
    tables: dict[str, Any], fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    tables["stage"][1] |= {"optimizer": "adamw_8bit"}
    assert fail() == (
        "stage 'answer': optimizer = 'adamw_8bit' needs bitsandbytes, not installed: "
        'pip install "sftkey[bitsandbytes]"'
    )


def test_eight_bits_on_a_device_without_them_are_one_line() -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(SFTKeyError, match=r"^stage 's': optimizer = 'adamw_8bit' does not run on mps: "):
        check_optimizer(_stage(optimizer="adamw_8bit"), torch.device("mps"))


def test_muon_of_an_older_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SFTKeyError, match=r"^stage 's': optimizer = 'muon' needs torch 2\.9 or later, found 2"):
        check_optimizer(_stage(optimizer="muon"), torch.device("cpu"))


def test_a_dry_run_says_what_muon_takes(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"][1] |= {"optimizer": "muon"}
    lines = [line.plain for line in dry_run(load_recipe(write_recipe(tables)))]
    (line,) = [line for line in lines if line.startswith("optimizer")]
    assert line == "optimizer muon for 14 matrices of 17,408 parameters, AdamW for the other 23,520"
    full, answer = (line for line in lines if line.startswith("memory"))
    assert full.split("optimizer ")[1].split(",")[0] > answer.split("optimizer ")[1].split(",")[0]
