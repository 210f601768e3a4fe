"""Keys by which a dataset says what to train on: which values say something, and whether a reader looked at them."""

from typing import Any

import pytest

from sftkey_data.extract.training_flags import WatchedRow, has_flags, said_by, unused


@pytest.mark.parametrize(
    ("row", "shown", "leaves_out"),
    [
        ({"weight": 0}, "weight is 0", True),
        ({"weight": "0.0"}, "weight is '0.0'", True),
        ({"weight": 0.5}, "weight is 0.5", False),
        ({"train": False}, "train is False", True),
        ({"training": "no"}, "training is 'no'", True),
        ({"trainable": 0}, "trainable is 0", True),
        ({"loss": False}, "loss is False", True),
        ({"loss_mask": [0, 0]}, "loss_mask is [0, 0]", True),
        ({"loss_mask": [0, 1]}, "loss_mask is [0, 1]", False),
        ({"masked": True}, "masked is True", True),
        ({"mask": 1}, "mask is 1", False),
        ({"train_detail": [{"begin_offset": 0}]}, "train_detail is [{'begin_offset': 0}]", False),
        ({"label": False}, "label is False", False),
        ({"is_correct": "No"}, "is_correct is 'No'", False),
        ({"correctness": [True, False]}, "correctness is [True, False]", False),
        ({"rejected": "not this"}, "rejected is 'not this'", False),
        ({"tools": [{"name": "add"}]}, "tools is [{'name': 'add'}]", False),
        ({"reward": 0.0}, "reward is 0.0", False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_flag_that_is_not_neutral_says_something(row: dict[str, Any], shown: str, leaves_out: bool) -> None:
    assert [(said.shown, said.leaves_out) for said in said_by(row)] == [(shown, leaves_out)]


@pytest.mark.parametrize(
    "row",
    [
        {"weight": 1},
        {"weight": "1.0"},
        {"weight": None},
        {"train": True},
        {"loss": 2.31},  # a measured loss
        {"label": "geometry"},
        {"label": 3},
        {"is_correct": [True, True]},
        {"rejected": ""},
        {"tools": []},
        {"masked": False},
        {"width": 0},
    ],
    ids=str,
)
def test_a_neutral_value_says_nothing(row: dict[str, Any]) -> None:
    assert list(said_by(row)) == []


def test_a_flag_is_unused_where_nobody_looked_at_it() -> None:
    turns = [{"content": "a", "weight": 0}, {"content": "b", "weight": 0}]
    row = {"label": False, "is_correct": False, "turns": turns, "other": turns}
    assert has_flags({"turns": turns})
    assert not has_flags({"turns": [{"content": "a"}]})
    seen = set[str]()
    watched = WatchedRow(row, "", seen)
    assert watched["label"] is False
    assert watched.get("absent", 1) == 1
    assert watched["turns"][1]["weight"] == 0
    # `other` was not looked at, so what its turns say concerns nobody
    assert [said.where for said in unused(row, seen)] == ["is_correct", "turns[0].weight"]


@pytest.mark.parametrize(
    "take",
    [
        dict,
        lambda row: {**row},
        lambda row: row.copy(),
        lambda row: row.pop("label"),
        lambda row: list(row.items()),
        lambda row: row.values(),
    ],
    ids=["dict", "unpacked", "copy", "pop", "items", "values"],
)
def test_a_row_that_is_taken_whole_is_looked_at(take: Any) -> None:
    seen = set[str]()
    take(WatchedRow({"label": False}, "", seen))
    assert list(unused({"label": False}, seen)) == []
