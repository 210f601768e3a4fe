"""How long a stage lasts, and learning rate and weights of each of its steps: pure functions of the recipe."""

import math

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe import Stage, Weights


def num_stage_examples(stage: Stage, num_examples: int) -> int:
    """How many examples a stage sees, repetitions counted; `epochs` of a set are seen to the last example."""
    if stage.steps is not None:
        return stage.steps * stage.batch_size
    return math.ceil((stage.epochs or 0) * num_examples)


def num_warmup_steps(stage: Stage, num_steps: int) -> int:
    """How many of a stage's steps have a rising learning rate.

    Raises:
        SFTKeyError: The warm-up is longer than the stage, so the learning rate would never be reached.
    """
    steps = round(stage.warmup_ratio * num_steps) if stage.warmup_steps is None else stage.warmup_steps
    if steps > num_steps:
        raise SFTKeyError(f"stage {stage.name!r}: warmup_steps is {steps}, but the stage has only {num_steps} steps")
    return steps


def learning_rate(stage: Stage, step: int, num_steps: int) -> float:
    """Learning rate of one optimizer step.

    No step is wasted at zero: with a warm-up of 2 and 4 linear steps after it the factors are 1/2, 1, 1, 3/4, 1/2, 1/4.

    Args:
        stage: Its `lr`, `schedule` and warm-up.
        step: 1 for the first step, `num_steps` for the last.
        num_steps: Steps of the whole stage.
    """
    warmup = num_warmup_steps(stage, num_steps)
    if step <= warmup:
        return stage.lr * step / warmup
    # Less 1, so that the first step after the warm-up still has the whole rate and the last one has not yet none.
    done = (step - 1 - warmup) / (num_steps - warmup)
    match stage.schedule:
        case "constant":
            return stage.lr
        case "linear":
            return stage.lr * (1 - done)
        case "cosine":
            return stage.lr * (1 + math.cos(math.pi * done)) / 2


def step_weights(stage: Stage, step: int, num_steps: int) -> Weights:
    """Region weights of one optimizer step: those of the stage at its first step, `weights_end` at its last.

    Worked, from cot 1, key 0 to cot 0, key 1 over 5 steps: the Key weighs 0, 1/4, 1/2, 3/4, 1 by `linear` and 0, 0.146,
    1/2, 0.854, 1 by `cosine`, which is SCALe's shift from CoT to answer (arXiv 2603.18656).

    Args:
        stage: Its weights and `weight_schedule`.
        step: 1 for the first step, `num_steps` for the last; a stage of one step has the weights of its start.
        num_steps: Steps of the whole stage.
    """
    if stage.weights_end is None:
        return stage.region_weights
    done = (step - 1) / max(num_steps - 1, 1)
    if stage.weight_schedule == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    end = dict(stage.weights_end)
    return Weights(**{region: (1 - done) * start + done * end[region] for region, start in stage.region_weights})
