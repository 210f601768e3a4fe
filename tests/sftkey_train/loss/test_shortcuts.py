"""Options that leave something out are compared with the plain path before the first step, and refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import shortcuts
from sftkey_train.loss.shortcuts import check_shortcuts, extremes
from sftkey_train.recipe import Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run, run_recipe

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Any]
PRUNED: dict[str, Any] = {"prune_last_layer": True}
READ: dict[str, Any] = {"context_gradient": False}
OPTIONS = pytest.mark.parametrize("option", [PRUNED, READ], ids=["pruned", "read"])

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 2}
GPT_NEO = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
JAMBA = {**SIZES, **EXPERTS, "num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
QWEN3_NEXT = {**SIZES, **EXPERTS, **LINEAR, "head_dim": 8, "num_hidden_layers": 4, "moe_intermediate_size": 16}
OTHERS: dict[str, dict[str, Any]] = {
    "gpt_neo": {**GPT_NEO, "window_size": 16, "intermediate_size": 48},
    "jamba": {**JAMBA, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "qwen3_next": {**QWEN3_NEXT, "shared_expert_intermediate_size": 16},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
}


def _initialised(family: str) -> PreTrainedModel:
    """A model that has learned nothing, whose attention is nearly flat: what a wrong option changes least."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, vocab_size=512, **OTHERS[family])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def _stage(**changes: Any) -> Stage:
    return Stage.model_validate({"name": "s", "loss_on": "answer", "steps": 1, "batch_size": 8, "lr": 1e-3, **changes})


@OPTIONS
def test_every_family_of_plain_attention_is_let_through(
    option: dict[str, Any], family: str, tiny_model: Make, prepared: TrainingSet
) -> None:
    model = tiny_model(family).train()
    before = torch.get_rng_state()
    check_shortcuts(model, _stage(**option), prepared.examples)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@OPTIONS
def test_half_precision_is_held_to_a_bound_of_its_own(
    option: dict[str, Any], tiny_model: Make, prepared: TrainingSet
) -> None:
    check_shortcuts(tiny_model("mistral"), _stage(**option), prepared.examples, precision="bf16")


def test_a_model_that_has_learned_its_data_is_let_through(tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model("llama"), prepared.examples
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # as sure of itself as a model can be
    for option in (PRUNED, READ):
        check_shortcuts(model, _stage(**option), examples)


@pytest.mark.parametrize(
    ("family", "option", "found"),
    [
        ("gpt_neo", PRUNED, "a loss of "),
        ("jamba", READ, "the gradient of "),
        ("qwen3_next", READ, "RuntimeError: "),
        ("mamba", PRUNED, "the last layer of MambaForCausalLM takes no cache"),
        ("mamba", READ, "RuntimeError: "),
        ("rwkv", PRUNED, "the last layer of RwkvForCausalLM takes no cache"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_model_that_gives_something_else_is_refused_in_one_line(
    family: str, option: dict[str, Any], found: str, prepared: TrainingSet
) -> None:
    model = _initialised(family)
    check_shortcuts(model, _stage(), prepared.examples)
    with pytest.raises(SFTKeyError) as caught:
        check_shortcuts(model, _stage(**option), prepared.examples)
    name = "prune_last_layer" if option is PRUNED else "context_gradient = false"
    assert str(caught.value).startswith(f"stage 's': {name} does not fit {type(model).__name__}: {found}")
    assert str(caught.value).endswith("; leave it out")
    assert "\n" not in str(caught.value)


def test_a_gradient_that_differs_where_the_loss_does_not_is_refused(
    tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    nll = shortcuts.token_nll

    def frozen_head(model: PreTrainedModel, batch: Any, **how: Any) -> torch.Tensor:
        losses = nll(model, batch, **how)
        return losses if how.get("context_gradient", True) else losses.detach() + 0 * losses

    monkeypatch.setattr(shortcuts, "token_nll", frozen_head)
    with pytest.raises(SFTKeyError, match=r"the gradient of model\.embed_tokens\.weight differs by "):
        check_shortcuts(tiny_model("llama"), _stage(**READ), prepared.examples)


def test_a_window_shows_in_the_longest_example_alone(tiny_model: Make, prepared: TrainingSet) -> None:
    chosen = extremes(prepared.examples)
    lengths = [len(example.input_ids) for example in chosen]
    assert lengths[0] == int(prepared.examples.num_tokens.max())
    assert min(lengths) == int(prepared.examples.num_tokens.min())
    assert len({example.id for example in chosen}) == len(chosen)


@pytest.mark.parametrize("place", [0, 1], ids=["now", "later"])
def test_no_step_is_taken_before_it_is_refused(place: int, tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"] = {"config": {"model_type": "gpt_neo", **OTHERS["gpt_neo"]}}
    tables["stage"][place] |= {"loss_on": "answer", **PRUNED}
    with pytest.raises(SFTKeyError, match="prune_last_layer does not fit GPTNeoForCausalLM: a loss of "):
        list(run_recipe(load_recipe(write_recipe(tables))))
    assert '"train"' not in "".join(path.read_text() for path in Path(tables["out"]).glob("metrics.jsonl"))


def test_a_family_without_attention_heads_trains(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"] = {"config": {"model_type": "mamba", **OTHERS["mamba"]}}
    tables["stage"] = [{**tables["stage"][0], "steps": 1, "batch_size": 1, "warmup_steps": 0}]
    recipe = load_recipe(write_recipe(tables))
    assert any("GFLOP a token" in str(line) for line in dry_run(recipe))
    (summary,) = run_recipe(recipe)
    assert summary["steps"] == 1
