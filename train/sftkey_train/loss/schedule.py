"""How long a stage lasts, and learning rate and weights of each of its steps: pure functions of the recipe."""

import math

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe import Stage, Weights

DECAY_RATIO = 0.1  # of the steps of a stage by `wsd`: what MiniCPM found enough


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


def num_decay_steps(stage: Stage, num_steps: int) -> int:
    """How many of a stage's last steps have a falling learning rate, by the schedule `wsd`.

    Raises:
        SFTKeyError: Too few for the rate to fall, or so many that they reach into the warm-up.
    """
    ratio, warmup = stage.decay_ratio or DECAY_RATIO, num_warmup_steps(stage, num_steps)
    decay, stated = round(ratio * num_steps), f"decay_ratio {ratio:g} of {num_steps} steps"
    if decay < 2:  # the first of them still has the whole rate
        raise SFTKeyError(f"stage {stage.name!r}: {stated} is {decay}, expected at least 2, or the rate never falls")
    if warmup + decay > num_steps:
        raise SFTKeyError(f"stage {stage.name!r}: {stated} is {decay}, but the warm-up leaves {num_steps - warmup}")
    return decay


def check_schedule(stage: Stage, num_steps: int) -> None:
    """Refuse, before the first step, a stage too short for its schedule.

    Raises:
        SFTKeyError: As of `num_warmup_steps` and `num_decay_steps`.
    """
    num_warmup_steps(stage, num_steps)
    if stage.schedule == "wsd":
        num_decay_steps(stage, num_steps)


def learning_rate(stage: Stage, step: int, num_steps: int) -> float:
    """Learning rate of one optimizer step.

    No step is wasted at zero: with a warm-up of 2 and 4 linear steps after it the factors are 1/2, 1, 1, 3/4, 1/2, 1/4.
    With `min_lr_ratio` 0.2 they are 1/2, 1, 1, 0.8, 0.6, 0.4: the least rate is that of the step after the last, where
    the schedule ends. `wsd` (warm-up, stable, decay; MiniCPM, arXiv 2404.06395) has the whole rate up to its last
    `decay_ratio` of the steps, and there falls as `linear` does: with a warm-up of 2 of 8 steps and `decay_ratio` 0.5
    the factors are 1/2, 1, 1, 1, 1, 3/4, 1/2, 1/4. After the warm-up the rates are those of transformers' schedules.

    Args:
        stage: Its `lr`, `schedule`, `min_lr_ratio`, `decay_ratio` and warm-up.
        step: 1 for the first step, `num_steps` for the last.
        num_steps: Steps of the whole stage.
    """
    warmup = num_warmup_steps(stage, num_steps)
    if step <= warmup:
        return stage.lr * step / warmup
    start = num_steps - num_decay_steps(stage, num_steps) if stage.schedule == "wsd" else warmup
    # Less 1, so that the first step that could fall still has the whole rate and the last one has not yet the least.
    done = max(0, step - 1 - start) / (num_steps - start)
    match stage.schedule:
        case "constant":
            return stage.lr
        case "linear" | "wsd":
            rate = stage.lr * (1 - done)
        case "cosine":
            rate = stage.lr * (1 + math.cos(math.pi * done)) / 2
    return rate + stage.min_lr_ratio * (stage.lr - rate)


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
