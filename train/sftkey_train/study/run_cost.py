"""What a run costs: before it, estimated from some of its steps; after it, added up from what every step has logged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch._subclasses.fake_tensor import FakeTensorMode

from sftkey_train.batches.batch import ExampleOrder
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.objective import check_targets, step_batches
from sftkey_train.loss.schedule import num_stage_examples
from sftkey_train.measure.flops import flop_count, step_work
from sftkey_train.measure.memory_estimate import skeleton
from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.model.model import check_fit, model_config
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_tables import ModelSource

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

_SAMPLED = 4  # steps, spread over the stage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """Optimizer steps, tokens that were put in and that carried loss, and floating-point operations of training."""

    steps: int
    tokens: int
    supervised_tokens: int
    flops: float


def estimated_cost(recipe: Recipe, source: ModelSource, data: TrainingSet) -> RunCost:
    """What the one stage of a recipe will cost, from the shapes of some of its steps; nothing is computed.

    Args:
        recipe: Of a run; what it starts from need not be there yet.
        source: A model of the same shape that is.
        data: What it trains on.

    Raises:
        SFTKeyError: The model does not fit the data, or the stage would train on nothing.
    """
    stage = recipe.stages[0]
    config = model_config(source, data.tokenizer)
    check_fit(config, data)
    check_targets(stage, data.examples)
    num = len(data.examples)
    order = ExampleOrder(recipe.seed, 0, num, stage.batch_size, num_stage_examples(stage, num))
    with FakeTensorMode() as mode:
        model: PreTrainedModel = skeleton(config, mode, recipe.lora)
    count = flop_count(model)
    sampled = [int(step) for step in np.unique(np.linspace(1, order.num_steps, min(_SAMPLED, order.num_steps)).round())]
    tokens, supervised, flops = 0, 0, 0.0
    for step in sampled:
        batches = step_batches(stage, [data.examples[i] for i in order.batch(step)], step, order, 0)
        tokens += sum(batch.num_tokens for batch in batches)
        supervised += sum(int((batch.anchor == 0).sum()) for batch in batches)
        flops += count.of(batches, context_gradient=stage.context_gradient, has_reference=stage.anchor > 0)
    share = order.num_steps / len(sampled)
    return RunCost(
        steps=order.num_steps,
        tokens=round(share * tokens),
        supervised_tokens=round(share * supervised),
        flops=share * flops,
    )


def written_flops(config: "PreTrainedConfig", lengths: "torch.Tensor", num_written: int) -> float:
    """Operations of a model that writes completions with a cache; what has ended or is padding costs nothing here.

    Args:
        config: The model's.
        lengths: Tokens of each prompt with its completion.
        num_written: Tokens of all completions.
    """
    with FakeTensorMode() as mode:
        model: PreTrainedModel = skeleton(config, mode, None)
    return float(step_work(lengths, num_written).at(flop_count(model).reading))


def logged_cost(rows: Iterable[MetricsRow]) -> RunCost:
    """What a run has cost, of a log with a row for every step."""
    steps = [row for row in rows if row["kind"] == "train"]
    return RunCost(
        steps=len(steps),
        tokens=sum(row["tokens"] for row in steps),
        supervised_tokens=sum(row["weighted_tokens"] for row in steps),
        flops=sum(round(row["flops_per_second"] * row["seconds"]) for row in steps),
    )
