"""The numbers of a report: claims against their bounds, headroom, learning curves, steps to reach, settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_records import FakeArm, fake_record, scores, written

from sftkey_train.study.report.study_charts import setting_panels
from sftkey_train.study.report.study_numbers import DatasetNumbers, study_numbers
from sftkey_train.study.report.study_results import read_results

STAGE1, CONTINUED = FakeArm(correct=0.3, slip=0.6), FakeArm(correct=0.4)


def numbers(tmp_path: Path, record: Mapping[str, Any]) -> DatasetNumbers:
    return study_numbers(read_results(written(record, tmp_path / "study.json"))).datasets[0]


@pytest.mark.parametrize(
    ("sftkey", "found"),
    [
        (FakeArm(correct=0.7), {"accuracy": "holds", "format": "holds"}),
        (FakeArm(correct=0.4), {"accuracy": "fails", "format": "holds"}),
        (FakeArm(correct=0.45, valid=0.99, spread=0.1), {"accuracy": "undecided", "format": "undecided"}),
        (FakeArm(correct=0.7, valid=0.8), {"accuracy": "holds", "format": "fails"}),
    ],
)
def test_the_papers_claims_are_held_against_the_control_and_stage_1(
    tmp_path: Path, sftkey: FakeArm, found: dict[str, str]
) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "sftkey": sftkey}, num_items=1000)
    claims = numbers(tmp_path, record).claims
    assert {claim.claimed: claim.finding for claim in claims if claim.gain.first == "continued"} == found
    assert [claim.gain.first for claim in claims] == ["continued", "stage1"] * 2
    assert {claim.bound for claim in claims} == {0.05, -0.01}


def test_without_the_papers_arm_there_is_no_verdict_on_it(tmp_path: Path) -> None:
    found = numbers(tmp_path, fake_record({"stage1": STAGE1, "continued": CONTINUED, "weighted": CONTINUED}))
    assert (found.claims, found.paper) == ((), None)


def test_headroom_is_the_share_of_errors_that_are_slips_or_right_answers_in_a_broken_format(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED}, claim=[0, 1])
    of_stage1 = [run for run in record["runs"] if run["arm"] == "stage1"]
    for run in of_stage1:  # correct, slip, right but malformed, wrong, wrong and malformed
        marks = {
            "correct": np.array([1, 0, 0, 0, 0], bool),
            "slip": np.array([0, 1, 0, 0, 0], bool),
            "format_valid": np.array([1, 1, 0, 1, 0], bool),
            "lenient_correct": np.array([1, 0, 1, 0, 0], bool),
        }
        run["scores"] = {part: scores(marks) for part in ("validation", "test")}
    record["runs"] = of_stage1
    room = numbers(tmp_path, record).headroom
    assert room is not None
    assert room.of_errors is not None
    shares = [room.of_errors, room.of_items, room.slip, room.malformed, room.correct]
    assert [share.value for share in shares] == pytest.approx([2 / 4, 2 / 5, 1 / 5, 1 / 5, 1 / 5])
    assert room.key_gold_cot is not None
    assert room.key_gold_cot.value == 1.0


def test_gains_are_against_the_control_and_against_rft(tmp_path: Path) -> None:
    arms = {"stage1": STAGE1, "continued": CONTINUED, "rft": FakeArm(correct=0.5), "weighted": FakeArm(correct=0.6)}
    found = numbers(tmp_path, fake_record(arms))
    assert {first: [(g.second, g.mark) for g in gains] for first, gains in found.gains.items()} == {
        "continued": [(arm, mark) for arm in ("rft", "weighted") for mark in ("correct", "format_valid")],
        "rft": [(arm, mark) for arm in ("continued", "weighted") for mark in ("correct", "format_valid")],
    }
    of_rft = found.on_test("weighted", "rft")
    assert of_rft is not None
    assert 0.05 < of_rft.rate.difference < 0.15
    assert found.chosen is not None
    assert found.chosen.second == "weighted"


def test_steps_to_reach_are_a_median_over_the_seeds_and_count_those_that_got_there(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED}, claim=[0, 1, 2])
    curves = {0: [0.1, 0.6, 0.95], 1: [0.5, 0.5, 0.5], 2: [0.1, 0.2, 0.55]}
    for run in record["runs"]:
        run["heldout"] = [
            {"step": step, "forced_key_match": key} for step, key in zip((0, 50, 100), curves[run["seed"]], strict=True)
        ]
    found = numbers(tmp_path, record)
    assert [(r.level, r.median_steps, r.num_reached, r.num_seeds) for r in found.reached] == [
        (0.5, 50, 3, 3),
        (0.9, None, 1, 3),
    ]
    (curve,) = found.curves
    assert [step for step, _ in curve.mean] == [0, 50, 100]
    assert [share for _, share in curve.mean] == pytest.approx([0.7 / 3, 1.3 / 3, 2.0 / 3])
    assert curve.seeds[1] == ((0, 0.5), (50, 0.5), (100, 0.5))


def test_every_arm_stands_on_validation_and_kinds_of_several_settings_are_known(
    tmp_path: Path,
) -> None:
    arms = {
        "stage1": STAGE1,
        "continued": CONTINUED,
        "weighted": FakeArm(correct=0.2, validation=0.6, table={"lr": 1e-3}),
        "slow": FakeArm(correct=0.2, validation=0.5, table={"like": "weighted", "lr": 1e-4}),
        "long": FakeArm(correct=0.2, validation=0.7, table={"like": "weighted", "lr": 1e-4}, steps=400),
        "sftkey": FakeArm(correct=0.4),
    }
    found = numbers(tmp_path, fake_record(arms, tuning=[7]))
    assert [(arm.name, arm.lr, arm.steps) for arm in found.validation] == [
        ("stage1", 1e-3, 100),
        ("continued", 1e-3, 100),
        ("weighted", 1e-3, 100),
        ("slow", 1e-4, 100),
        ("long", 1e-4, 400),
        ("sftkey", 1e-3, 100),
    ]
    assert {arm.purpose for arm in found.validation} == {"tuning"}
    assert [arm.correct.value for arm in found.validation] == pytest.approx([0.3, 0.4, 0.6, 0.5, 0.7, 0.4], abs=0.05)
    assert found.varied == {"weighted"}
    panels = setting_panels(found)
    assert panels is not None
    assert [(p.label, [at for at, _, _ in p.points]) for p in panels.panels] == [
        ("weighted, 100 steps", [0.0, 100.0]),
        ("weighted, 400 steps", [0.0]),
    ]


def test_costs_are_means_over_the_claim_seeds(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED}, claim=[0, 1], tuning=[5])
    for run in record["runs"]:
        run["seconds"]["training"] = {0: 10.0, 1: 20.0, 5: 999.0}[run["seed"]]
        if run["arm"] == "continued":
            run["own"] = {"seconds": {"sampling": 30.0, "scoring": 2.0 if run["seed"] else None}}
    stage1, arm = numbers(tmp_path, record).arms
    assert (arm.training_seconds, arm.other_seconds, arm.steps, arm.flops) == (15.0, 21.0, 100, 2.5e12)
    assert (stage1.sampling_seconds, arm.sampling_seconds) == (None, 31.0)


def test_a_run_that_had_nothing_to_train_on_is_named_and_the_study_is_whole_without_it(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "rft": CONTINUED}, claim=[0])
    record["runs"], record["num_finished"] = record["runs"][:2], 2
    results = read_results(written(record, tmp_path / "study.json"))
    assert not study_numbers(results).is_whole
    record["missing"] = [
        {"dataset": "sums", "seed": 0, "role": "claim", "arm": "rft", "key": "k", "why": "none is kept"}
    ]
    found = study_numbers(read_results(written(record, tmp_path / "study.json")))
    assert found.datasets[0].missing == ("rft, seed 0, was not trained: none is kept",)
    assert found.is_whole


def test_an_arm_whose_format_is_shown_worse_on_validation_is_not_the_chosen_one(tmp_path: Path) -> None:
    careless, weighted = FakeArm(correct=0.9, valid=0.85), FakeArm(correct=0.6)
    arms = {"stage1": STAGE1, "continued": CONTINUED, "sftkey": careless, "weighted": weighted}
    found = numbers(tmp_path, fake_record(arms))
    assert found.chosen is not None
    assert found.chosen.second == "weighted"
    assert found.on_test("sftkey").rate.difference > found.on_test("weighted").rate.difference  # type: ignore[union-attr]


def test_arms_of_another_length_are_compared_with_plain_training_of_theirs(tmp_path: Path) -> None:
    arms = {
        "stage1": STAGE1,
        "continued": CONTINUED,
        "weighted": FakeArm(correct=0.5),
        "long": FakeArm(correct=0.7, steps=200, table={"like": "weighted"}),
        "continued_long": FakeArm(correct=0.6, steps=200, table={"like": "continued"}),
    }
    found = numbers(tmp_path, fake_record(arms))
    assert [gain.second for gain in found.gains["continued_long"]] == ["long", "long"]
    assert found.chosen is not None
    assert (found.chosen.first, found.chosen.second) == ("continued_long", "long")
    gained = found.on_test("long")
    assert gained is not None
    assert (gained.first, gained.rate.difference) == ("continued_long", pytest.approx(0.1, abs=0.05))
    assert found.same_steps == {"continued", "weighted", "long"}


def test_keys_given_the_gold_cot_are_counted_over_the_items_that_were_measured(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED})  # 50 items by the study
    of_50 = numbers(tmp_path, record).arms[0].key_gold_cot
    for run in record["runs"]:
        for point in run["heldout"]:
            point["examples"] = 20  # validation has no more
    of_20 = numbers(tmp_path, record).arms[0].key_gold_cot
    assert of_50 is not None
    assert of_20 is not None
    assert (of_50.low, of_20.low) == (pytest.approx(0.929, abs=1e-3), pytest.approx(0.839, abs=1e-3))
