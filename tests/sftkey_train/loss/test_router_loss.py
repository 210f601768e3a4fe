"""The router loss of a mixture of experts: transformers' own, however a batch is split, and only where asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows, run_together, train
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.hf import load_generator
from sftkey_train.batches.batch import Example, ExampleOrder
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.loss.router_loss import check_router_loss, check_router_options, router_coefficient
from sftkey_train.model.model import initial_model, model_config
from sftkey_train.recipe import Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run, run_recipe

Write = Callable[[dict[str, Any]], Path]

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
ASKED = {"output_router_logits": True}
MIXTRAL = {**SIZES, **ASKED, "num_key_value_heads": 2, "num_local_experts": 4, "router_aux_loss_coef": 0.5}
DBRX = {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512, **ASKED}
DBRX["ffn_config"] = {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2, "moe_loss_weight": 0.03}
DBRX["attn_config"] = {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}
JETMOE = {**SIZES, **ASKED, "num_key_value_heads": 2, "kv_channels": 8, "num_local_experts": 4, "aux_loss_coef": 0.02}
OTHERS = {"dbrx": (DBRX, 0.03), "jetmoe": (JETMOE, 0.02), "mixtral": (MIXTRAL, 0.5)}


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """A mixture of experts whose router loss weighs much, in one stage of large batches."""
    tables["model"] = {"config": {"model_type": "mixtral", "max_position_embeddings": 256, **MIXTRAL}}
    tables["stage"] = [tables["stage"][0] | {"steps": 3, "batch_size": 12, "save_every": 2}]
    return tables


def _made(family: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{"vocab_size": 512, "pad_token_id": None, **OTHERS[family][0], **changes})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def _own_loss(model: PreTrainedModel, examples: list[Example]) -> float:
    """Of whole padded examples with the labels of their completions, as a trainer of transformers has it."""
    shape = len(examples), max(len(e.input_ids) for e in examples)
    ids, mask, labels = torch.zeros(shape).long(), torch.zeros(shape).long(), torch.full(shape, -100)
    for row, example in enumerate(examples):
        num, start = len(example.input_ids), example.borders.prompt_tokens
        ids[row, :num], mask[row, :num] = example.input_ids, 1
        labels[row, start:num] = example.input_ids[start:]
    with torch.no_grad():
        return float(model.eval()(input_ids=ids, attention_mask=mask, labels=labels).loss)


def test_the_loss_of_a_plain_batch_is_that_of_transformers(tables: dict[str, Any], write_recipe: Write) -> None:
    recipe = load_recipe(write_recipe(tables))
    (summary,) = run_recipe(recipe)
    first, *_, last = (row for row in metric_rows(recipe.out) if row["kind"] == "train")
    data = read_training_set(recipe.data)
    order = ExampleOrder(recipe.seed, 0, len(data.examples), 12, 36)
    model = initial_model(recipe.model, model_config(recipe.model, data.tokenizer), recipe.seed)
    expected = _own_loss(model, [data.examples[i] for i in order.batch(1)])
    assert first["loss"] == pytest.approx(expected, rel=1e-6)
    assert first["loss"] > first["router_loss"] * 0.5 + 1
    assert summary["router_loss"] == last["router_loss"]
    assert summary["router_coefficient"] == 0.5
    assert json.loads((recipe.out / "run.json").read_text())["router_coefficient"] == 0.5
    assert any("router loss times 0.5" in str(line) for line in dry_run(recipe))


@pytest.mark.parametrize(
    ("changes", "noise"),
    [({"micro_batch_size": 5}, 0.0), ({"max_tokens": 400, "packing": "on"}, 0.0), ({"micro_batch_size": 5}, 5.0)],
    ids=["accumulated", "packed", "noisy"],
)
def test_it_does_not_depend_on_how_a_batch_is_split(
    changes: dict[str, Any], noise: float, tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.0
    tables["stage"][0] |= {"neftune_alpha": noise}
    whole, split = Path(tables["out"]) / "whole", Path(tables["out"]) / "split"
    train(write_recipe(tables), [f"out={whole}"])
    tables["stage"][0] |= changes
    train(write_recipe(tables), [f"out={split}"])
    _assert_same_run(split, whole)


@pytest.mark.slow
def test_two_ranks_equal_one(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"][0] |= {"batch_size": 5}
    recipe, one, two = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "two"
    train(recipe, [f"out={one}"])
    assert run_together(2, train, recipe, [f"out={two}"]) == [0, 0]
    _assert_same_run(two, one)


def _assert_same_run(found: Path, expected: Path) -> None:
    for row, other in zip(metric_rows(found), metric_rows(expected), strict=True):
        for name in ("loss", "router_loss", "grad_norm"):
            assert row[name] == pytest.approx(other[name], rel=1e-5), name
    weights = final_weights(expected)
    for name, weight in final_weights(found).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_resumed_stage_ends_with_the_same_bits(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.1  # the counting pass must leave the random numbers alone
    tables["stage"][0] |= {"micro_batch_size": 7}
    tables["gradient_checkpointing"] = True
    monkeypatch.setattr("sftkey_train.checkpoint.stage_outputs.drop_checkpoints", lambda *_: None)
    recipe = load_recipe(write_recipe(tables))
    list(run_recipe(recipe))
    weights, rows = final_weights(recipe.out), metric_rows(recipe.out)
    shutil.rmtree(recipe.out / "full" / "final")
    list(run_recipe(recipe))
    assert metric_rows(recipe.out) == rows
    again = final_weights(recipe.out)
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("family", OTHERS)
def test_every_way_of_saying_it_is_followed(family: str, prepared: TrainingSet) -> None:
    model = _made(family)
    assert router_coefficient(model.config) == OTHERS[family][1]
    assert router_coefficient(_made(family, output_router_logits=False).config) == 0
    check_router_loss(model, prepared.examples)


def test_a_family_that_makes_no_loss_of_its_routers_has_none() -> None:
    assert router_coefficient(AutoConfig.for_model("afmoe", output_router_logits=True)) == 0
    assert router_coefficient(AutoConfig.for_model("llama")) == 0


def test_a_family_with_a_loss_of_another_kind_is_refused(prepared: TrainingSet) -> None:
    sizes = {**SIZES, "num_key_value_heads": 2, "is_moe": True, "num_experts": 16, "num_experts_per_tok": 2}
    config = AutoConfig.for_model("doge", vocab_size=512, **sizes, **ASKED)
    with pytest.raises(SFTKeyError, match=r"the router loss that DogeForCausalLM's config asks for .* cannot be had: "):
        check_router_loss(AutoModelForCausalLM.from_config(config), prepared.examples)


@pytest.mark.parametrize(
    ("option", "name"),
    [({"context_gradient": False}, "context_gradient = false"), ({"prune_last_layer": True}, "prune_last_layer")],
    ids=["read", "pruned"],
)
def test_options_that_leave_out_routed_tokens_are_refused(
    option: dict[str, Any], name: str, tables: dict[str, Any], fail: Callable[..., str]
) -> None:
    tables["stage"][0] |= option
    line = fail()
    assert line.startswith(f"stage 'full': {name} leaves out tokens of the model's router loss")


def test_shares_of_weights_are_refused(tables: dict[str, Any]) -> None:
    stage = Stage.model_validate(tables["stage"][0])
    check_router_options(stage, 0.0, sharded=True)
    check_router_options(stage, 0.5, sharded=False)
    with pytest.raises(SFTKeyError, match="fsdp does not go with the model's router loss"):
        check_router_options(stage, 0.5, sharded=True)


def test_a_configuration_that_does_not_ask_changes_nothing(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"]["config"]["output_router_logits"] = False
    (summary,) = run_recipe(recipe := load_recipe(write_recipe(tables)))
    assert "router_loss" not in summary
    assert "router_coefficient" not in json.loads((recipe.out / "run.json").read_text())
    assert any("no router loss" in str(line) for line in dry_run(recipe, overwrite=True))


def test_a_model_with_the_loss_generates_from_prompts_of_several_lengths(
    tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["stage"][0] |= {"generate_at_end": True, "generate_examples": 3, "generate_max_new_tokens": 2}
    (summary,) = run_recipe(load_recipe(write_recipe(tables)))
    assert summary["generated"]["examples"] == 3
    model = load_generator(summary["final"], device="cpu")
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert model.generate(torch.ones(2, 3).long(), attention_mask=mask, max_new_tokens=2).shape == (2, 5)
    assert AutoConfig.from_pretrained(summary["final"]).output_router_logits
