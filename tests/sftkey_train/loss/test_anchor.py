"""The KL to the model a stage started from."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.anchor import anchor_kl, frozen, reference_logits
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.measure.metrics_log import MetricsLog, MetricsRow
from sftkey_train.recipe import Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Make = Callable[..., PreTrainedModel]
STAGE = Stage(name="a", weights={"key": 1, "eos": 1}, anchor=2.0, steps=3, batch_size=4, lr=1e-3)
ORDER = ExampleOrder(seed=0, depth=1, num_examples=10, batch_size=4, num_seen=12)


def test_a_worked_number() -> None:
    reference, current = torch.tensor([[1 / 2, 1 / 2]]).log(), torch.tensor([[1 / 4, 3 / 4]]).log()
    assert float(anchor_kl(reference, current)) == pytest.approx(math.log(4 / 3) / 2, rel=1e-5)
    # The other direction has another value: 1/4 ln 1/2 + 3/4 ln 3/2.
    assert float(anchor_kl(current, reference)) == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-5)


def test_it_is_zero_between_equals_and_does_not_depend_on_the_scale_of_logits() -> None:
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(anchor_kl(logits, logits + 7), torch.zeros(5), atol=1e-6, rtol=0)


def test_value_and_gradient_equal_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, current = (torch.randn(150, 7, generator=generator) for _ in range(2))  # more than go at once
    current.requires_grad_()
    kl = functional.kl_div(current.log_softmax(-1), reference.softmax(-1), reduction="none").sum(-1)
    torch.testing.assert_close(anchor_kl(reference, current), kl)
    factors = torch.randn(150, generator=generator)
    (expected,) = torch.autograd.grad((factors * kl).sum(), current)
    (factors * anchor_kl(reference, current)).sum().backward()
    torch.testing.assert_close(current.grad, expected)


def test_a_reference_has_no_dropout_and_no_gradient(tiny_model: Make, prepared: TrainingSet) -> None:
    reference = frozen(tiny_model("llama", attention_dropout=0.5).train())
    (batch,) = step_batches(STAGE, prepared.examples.first(4), 1, ORDER, 0)
    first = reference_logits(reference, batch)
    assert torch.equal(first, reference_logits(reference, batch))
    assert not first.requires_grad
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_each_model_projects_only_the_positions_it_needs(tiny_model: Make, prepared: TrainingSet) -> None:
    examples = prepared.examples.first(4)
    model, reference = tiny_model("llama"), frozen(tiny_model("llama"))
    projected: dict[str, int] = {}
    for name, each in (("model", model), ("reference", reference)):

        def keep(_head: object, _args: object, output: Tensor, name: str = name) -> None:
            projected[name] = output.shape[1]

        each.get_output_embeddings().register_forward_hook(keep)
    (batch,) = step_batches(STAGE, examples, 1, ORDER, 0)
    token_costs(model, batch, reference)
    completion = sum(e.borders.num_tokens - e.borders.prompt_tokens for e in examples)
    keys_and_eos = sum(1 + e.borders.key_token_end - e.borders.key_token_start for e in examples)
    assert projected == {"model": completion, "reference": completion - keys_and_eos}


def test_the_share_is_the_loss_and_the_anchor_times_the_kl(tiny_model: Make, prepared: TrainingSet) -> None:
    model, reference = tiny_model("qwen2"), frozen(tiny_model("qwen2", num_hidden_layers=1))
    (batch,) = step_batches(STAGE, prepared.examples.first(4), 1, ORDER, 0)
    plain = STAGE.model_copy(update={"anchor": 0.0})
    (alone,) = step_batches(plain, prepared.examples.first(4), 1, ORDER, 0)
    costs = token_costs(model, batch, reference).detach()
    mean_kl = float(costs[batch.anchor > 0].mean())
    assert mean_kl > 0.1
    assert costs[batch.anchor == 0].tolist() == pytest.approx(token_costs(model, alone).tolist(), rel=1e-5)
    expected = float(batch_loss(token_costs(model, alone).detach(), alone, plain)) + 2 * mean_kl
    assert float(batch_loss(costs, batch, STAGE)) == pytest.approx(expected, rel=1e-5)


def test_in_bf16_costs_are_still_fp32_and_near_those_of_fp32(tiny_model: Make, prepared: TrainingSet) -> None:
    model, reference = tiny_model("qwen2"), frozen(tiny_model("qwen2", num_hidden_layers=1))
    (batch,) = step_batches(STAGE, prepared.examples.first(4), 1, ORDER, 0)
    with torch.autocast("cpu", torch.bfloat16):
        costs = token_costs(model, batch, reference)
    assert costs.dtype == torch.float32
    batch_loss(costs, batch, STAGE).backward()
    exact = token_costs(model, batch, reference).detach()
    for part in (batch.weights, batch.anchor):
        assert float((part * costs.detach()).sum()) == pytest.approx(float((part * exact).sum()), rel=0.05)


def _rows(tables: dict[str, Any], write_recipe: Callable[..., Path], *overrides: str) -> list[MetricsRow]:
    tables["model"]["config"]["attention_dropout"] = 0.0
    recipe = load_recipe(write_recipe(tables), overrides)
    list(run_recipe(recipe, overwrite=True))
    return [row for row in MetricsLog(recipe.out / "metrics.jsonl").rows() if row["stage"] == "answer"]


def test_a_stage_starts_at_its_own_reference_and_a_strong_anchor_keeps_it_there(
    tables: dict[str, Any], write_recipe: Callable[..., Path]
) -> None:
    tables["stage"][1]["steps"] = 8
    weak = _rows(tables, write_recipe, "stage.answer.anchor=1e-6")
    strong = _rows(tables, write_recipe, "stage.answer.anchor=100.0")
    for rows in (weak, strong):
        assert rows[0]["anchor_kl"] == pytest.approx(0, abs=1e-6)
        assert set(rows[0]["loss_by_region"]) == {"tag", "key", "eos"}  # anchored tokens carry no loss
    assert weak[-1]["anchor_kl"] > 1e-3
    assert strong[-1]["anchor_kl"] < weak[-1]["anchor_kl"] / 3
