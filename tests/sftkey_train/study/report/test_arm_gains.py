"""Gains of arms: by hand, paired by seed and item, chosen on validation, and nothing where there is nothing."""

from pathlib import Path

import numpy as np
import pytest
from study_records import FakeArm, fake_record, scores, written

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.arms import ArmRate
from sftkey_train.study.report.arm_gains import (
    against,
    gain,
    key_given_gold_cot,
    key_given_own_cot,
    mark_share,
    validation_gains,
    validation_purpose,
)
from sftkey_train.study.report.study_results import DatasetResults, read_results

STAGE1, CONTINUED = FakeArm(correct=0.3), FakeArm(correct=0.4)


def read(tmp_path: Path, record: dict[str, object]) -> DatasetResults:
    return read_results(written(record, tmp_path / "study.json")).datasets[0]


def test_shares_and_differences_are_those_of_the_bits(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "sftkey": CONTINUED}, claim=[0, 1])
    no = [0, 0, 0, 0]
    bits = {
        ("continued", 0): ([1, 1, 0, 0], [0, 0, 1, 0]),
        ("continued", 1): ([1, 0, 0, 0], [0, 1, 1, 0]),
        ("sftkey", 0): ([1, 1, 1, 0], no),
        ("sftkey", 1): ([1, 1, 0, 0], no),
        ("stage1", 0): (no, no),
        ("stage1", 1): (no, no),
    }
    for run in record["runs"]:
        correct, slip = (np.array(marks, dtype=bool) for marks in bits[run["arm"], run["seed"]])
        marks = {"correct": correct, "slip": slip, "format_valid": ~slip, "lenient_correct": correct}
        run["scores"] = {part: scores(marks) for part in ("validation", "test")}
    arms = read(tmp_path, record).arms
    found = gain(arms["continued"], arms["sftkey"])
    assert found is not None
    assert (found.rate.difference, found.seeds, found.num_items) == (0.25, (0, 1), 4)
    continued = mark_share(arms["continued"], "correct")
    own, none = key_given_own_cot(arms["continued"]), key_given_own_cot(arms["stage1"])
    assert continued is not None
    assert continued.value == 3 / 8
    assert own is not None
    assert own.value == 3 / 6
    assert none is None


def test_seeds_are_paired_by_number_and_one_that_only_one_arm_has_is_left_out(tmp_path: Path) -> None:
    arms = {"stage1": STAGE1, "continued": CONTINUED, "sftkey": FakeArm(correct=0.6)}
    record = fake_record(arms, claim=[0, 1, 2])
    record["runs"] = [run for run in record["runs"] if (run["seed"], run["arm"]) not in ((0, "sftkey"), (2, "stage1"))]
    found = read(tmp_path, record).arms
    gained = gain(found["continued"], found["sftkey"])
    assert gained is not None
    assert gained.seeds == (1, 2)
    rows = found["sftkey"].parts["test", "claim"].marks["correct"], found["continued"].parts["test", "claim"]
    assert gained.rate.difference == pytest.approx(rows[0].mean() - rows[1].marks["correct"][1:].mean())


def test_equal_bits_show_no_difference_and_a_large_one_is_shown(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "better": FakeArm(correct=0.6, spread=0.02)})
    record["runs"] += [run | {"arm": "same"} for run in record["runs"] if run["arm"] == "continued"]
    record["study"]["arms"]["same"] = {"like": "continued"}
    arms = read(tmp_path, record).arms
    same, better = gain(arms["continued"], arms["same"]), gain(arms["continued"], arms["better"])
    assert same is not None
    assert better is not None
    assert (same.rate.difference, same.rate.shown) == (0.0, False)
    assert same.rate.detectable is not None
    assert 0 < same.rate.detectable < 0.05
    assert better.rate.shown
    assert better.rate.difference == pytest.approx(0.2, abs=0.05)


def test_nothing_is_gained_where_nothing_is_finished_and_one_seed_has_no_interval(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "sftkey": CONTINUED}, claim=[0], finished=2)
    arms = read(tmp_path, record).arms
    assert gain(arms["continued"], arms["sftkey"]) is None
    assert mark_share(arms["sftkey"], "correct") is None
    assert key_given_own_cot(arms["sftkey"]) is None
    assert key_given_gold_cot(arms["sftkey"], 50) is None
    found = gain(arms["stage1"], arms["continued"])
    assert found is not None
    assert (found.rate.low, found.rate.shown) == (None, False)


def test_other_numbers_of_items_are_not_paired(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED}, num_items=40)
    other = fake_record({"stage1": STAGE1, "continued": CONTINUED}, num_items=48)
    record["runs"] = [*record["runs"][::2], *other["runs"][1::2]]
    arms = read(tmp_path, record).arms
    with pytest.raises(SFTKeyError, match="continued has 48 items of test, stage1 40"):
        gain(arms["stage1"], arms["continued"])


def test_choices_are_made_on_validation_and_on_tuning_seeds_where_all_arms_have_one(tmp_path: Path) -> None:
    arms = {
        "stage1": STAGE1,
        "continued": CONTINUED,
        "sftkey": FakeArm(correct=0.9, validation=0.3),
        "weighted": FakeArm(correct=0.2, validation=0.7),
    }
    record = fake_record(arms, tuning=[7, 8])
    dataset = read(tmp_path, record)
    control = dataset.arms["continued"]
    assert validation_purpose(dataset, control) == "tuning"
    assert list(validation_gains(dataset, control)) == ["weighted", "sftkey"]
    assert {gained.seeds for gained in validation_gains(dataset, control).values()} == {(7, 8)}
    record["runs"] = [run for run in record["runs"] if run["role"] == "claim" or run["arm"] != "sftkey"]
    fewer = read(tmp_path, record)
    assert validation_purpose(fewer, fewer.arms["continued"]) == "claim"


def test_an_arm_that_has_not_been_run_yet_does_not_send_the_choice_to_other_seeds(tmp_path: Path) -> None:
    arms = {"stage1": STAGE1, "continued": CONTINUED, "focal": CONTINUED, "weighted": FakeArm(correct=0.6)}
    record = fake_record(arms, tuning=[7])
    record["runs"] = [run for run in record["runs"] if run["arm"] != "focal"]
    dataset = read(tmp_path, record)
    assert "focal" in dataset.arms
    assert validation_purpose(dataset, dataset.arms["continued"]) == "tuning"
    assert list(validation_gains(dataset, dataset.arms["continued"])) == ["weighted"]


def test_an_arm_that_never_had_anything_to_train_on_does_not_send_the_choice_to_other_seeds(tmp_path: Path) -> None:
    arms = {"stage1": STAGE1, "continued": CONTINUED, "rft": CONTINUED, "weighted": FakeArm(correct=0.6)}
    record = fake_record(arms, tuning=[7])
    record["runs"] = [run for run in record["runs"] if run["arm"] != "rft"]
    record["missing"] = [{"dataset": "sums", "seed": 7, "role": "tuning", "arm": "rft", "key": "k", "why": "none kept"}]
    dataset = read(tmp_path, record)
    assert validation_purpose(dataset, dataset.arms["continued"]) == "tuning"
    assert list(validation_gains(dataset, dataset.arms["continued"])) == ["weighted"]


@pytest.mark.parametrize(
    ("low", "high", "bound", "finding"),
    [
        (0.051, 0.2, 0.05, "holds"),
        (0.049, 0.2, 0.05, "undecided"),
        (-0.1, 0.05, 0.05, "fails"),
        (-0.009, 0.01, -0.01, "holds"),
        (-0.02, 0.01, -0.01, "undecided"),
        (-0.3, -0.02, -0.01, "fails"),
        (None, None, 0.05, "undecided"),
    ],
)
def test_a_difference_is_held_against_a_bound_by_its_interval(
    low: float | None, high: float | None, bound: float, finding: str
) -> None:
    assert against(ArmRate(difference=0.0, low=low, high=high, detectable=None), bound) == finding


def test_the_key_given_the_gold_cot_is_the_last_that_was_measured(tmp_path: Path) -> None:
    record = fake_record({"stage1": FakeArm(correct=0.3, curve=(0.1, 0.9, 0.4))})
    found = key_given_gold_cot(read(tmp_path, record).arms["stage1"], 50)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.low < 0.4
