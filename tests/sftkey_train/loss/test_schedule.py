"""How long a stage lasts, its learning rate and its weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from sftkey_data.errors import SFTKeyError
from sftkey_train.loss.schedule import check_schedule, learning_rate, num_stage_examples, num_warmup_steps, step_weights
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage, Weights


def _stage(**changes: Any) -> Stage:
    settings = {"name": "s", "loss_on": "key", "steps": 6, "batch_size": 4, "lr": 1.0} | changes
    return Stage(**{key: value for key, value in settings.items() if value is not None})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
    ],
)
def test_the_rate_rises_linearly_then_follows_the_schedule(schedule: str, expected: list[float]) -> None:
    stage = _stage(schedule=schedule, warmup_steps=2)
    assert [learning_rate(stage, step, 6) for step in range(1, 7)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "changes", "expected"),
    [
        ("linear", {}, [0.5, 1, 1, 0.8, 0.6, 0.4]),
        ("cosine", {}, [0.5, 1, 1, 0.2 + 0.8 * (2 + 2**0.5) / 4, 0.6, 0.2 + 0.8 * (2 - 2**0.5) / 4]),
        ("wsd", {"decay_ratio": 0.5}, [0.5, 1, 1, 1, 1 - 0.8 / 3, 1 - 1.6 / 3]),
        ("wsd", {"decay_ratio": 0.5, "min_lr_ratio": 0.0}, [0.5, 1, 1, 1, 2 / 3, 1 / 3]),
        ("wsd", {"decay_ratio": 2 / 3, "min_lr_ratio": 0.0}, [0.5, 1, 1, 0.75, 0.5, 0.25]),
    ],
)
def test_the_rate_falls_to_its_least_share_and_wsd_falls_at_the_end(
    schedule: str, changes: dict[str, Any], expected: list[float]
) -> None:
    stage = _stage(schedule=schedule, warmup_steps=2, **({"min_lr_ratio": 0.2} | changes))
    assert [learning_rate(stage, step, 6) for step in range(1, 7)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "changes", "theirs"),
    [
        ("linear", {}, partial(get_linear_schedule_with_warmup, num_training_steps=40)),
        (
            "cosine",
            {"min_lr_ratio": 0.3},
            partial(get_cosine_with_min_lr_schedule_with_warmup, num_training_steps=40, min_lr_rate=0.3),
        ),
        (
            "wsd",
            {"min_lr_ratio": 0.3, "decay_ratio": 0.25},
            partial(get_wsd_schedule, num_training_steps=40, num_decay_steps=10, decay_type="linear", min_lr_ratio=0.3),
        ),
    ],
    ids=["linear", "cosine", "wsd"],
)
def test_after_the_warm_up_the_rates_are_those_of_transformers(
    schedule: str, changes: dict[str, Any], theirs: Callable[..., LambdaLR]
) -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=2e-3)
    scheduler, expected = theirs(optimizer, num_warmup_steps=4), []
    for _ in range(40):
        expected += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    stage = _stage(schedule=schedule, lr=2e-3, warmup_steps=4, **changes)
    assert [learning_rate(stage, step, 40) for step in range(5, 41)] == pytest.approx(expected[4:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "decay_ratio 0.1 of 6 steps is 1, expected at least 2, or the rate never falls"),
        ({"decay_ratio": 0.8, "warmup_steps": 2}, "decay_ratio 0.8 of 6 steps is 5, but the warm-up leaves 4"),
        ({"warmup_steps": 7}, "warmup_steps is 7, but the stage has only 6 steps"),
    ],
)
def test_a_stage_too_short_for_its_decay_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SFTKeyError, match=f"^stage 's': {message}$"):
        check_schedule(_stage(schedule="wsd", **changes), 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "constant", "min_lr_ratio": 0.1}, "min_lr_ratio is for a schedule that falls, found 'constant'"),
        ({"decay_ratio": 0.1}, "decay_ratio is for schedule = 'wsd', found 'cosine'"),
        ({"min_lr_ratio": 1.0}, "min_lr_ratio\n.*less than 1"),
        ({"schedule": "wsd", "decay_ratio": 0}, "decay_ratio\n.*greater than 0"),
    ],
)
def test_options_that_a_schedule_does_not_have_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _stage(**changes)


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert [learning_rate(_stage(schedule="linear", lr=2e-3), step, 4) for step in (1, 4)] == [2e-3, 5e-4]


def test_a_stage_can_be_all_warm_up() -> None:
    assert [learning_rate(_stage(warmup_ratio=1.0), step, 4) for step in (1, 4)] == [0.25, 1.0]


def test_the_warm_up_ratio_is_of_the_steps() -> None:
    assert num_warmup_steps(_stage(warmup_ratio=1 / 6), 300) == 50


def test_a_warm_up_longer_than_the_stage_is_refused() -> None:
    with pytest.raises(SFTKeyError, match="stage 's': warmup_steps is 7, but the stage has only 6 steps"):
        num_warmup_steps(_stage(warmup_steps=7), 6)


@pytest.mark.parametrize(("epochs", "seen"), [(1, 10), (3, 30), (0.25, 3), (1.5, 15)])
def test_epochs_are_counted_in_examples(epochs: float, seen: int) -> None:
    assert num_stage_examples(_stage(steps=None, epochs=epochs), 10) == seen


def test_steps_are_whole_batches() -> None:
    assert num_stage_examples(_stage(steps=6), 10) == 24


MOVING = {"loss_on": None, "weights": {"cot": 1, "tag": 0.2}, "weights_end": {"key": 1, "tag": 0.9}}


@pytest.mark.parametrize(
    ("schedule", "done"),
    [
        ("linear", [0, 1 / 4, 1 / 2, 3 / 4, 1]),
        ("cosine", [0, (2 - 2**0.5) / 4, 1 / 2, (2 + 2**0.5) / 4, 1]),
    ],
)
def test_weights_go_from_those_of_the_stage_to_those_of_its_end(schedule: str, done: list[float]) -> None:
    stage = _stage(weight_schedule=schedule, **MOVING)
    weights = [step_weights(stage, step, 5) for step in range(1, 6)]
    assert [w.cot for w in weights] == pytest.approx([1 - d for d in done])
    assert [w.key for w in weights] == pytest.approx(done)
    assert [w.tag for w in weights] == pytest.approx([0.2 + 0.7 * d for d in done])
    assert (weights[0], weights[-1]) == (Weights(cot=1, tag=0.2), Weights(key=1, tag=0.9))  # exactly


def test_weights_of_a_step_do_not_depend_on_other_steps_and_one_step_has_those_of_the_start() -> None:
    stage = _stage(weight_schedule="cosine", **MOVING)
    forwards = [step_weights(stage, step, 7) for step in range(1, 8)]
    assert [step_weights(stage, step, 7) for step in range(7, 0, -1)] == forwards[::-1]
    assert step_weights(stage, 1, 1) == stage.region_weights


def test_without_an_end_the_weights_stay() -> None:
    assert [step_weights(_stage(), step, 6) for step in (1, 6)] == [LOSS_ON_WEIGHTS["key"]] * 2
