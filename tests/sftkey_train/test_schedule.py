"""How long a stage lasts and its learning rate."""

from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe import Stage
from sftkey_train.schedule import learning_rate, num_stage_examples, num_warmup_steps


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
