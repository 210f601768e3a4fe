"""The choice of a stage 2: on validation alone, by the rule, and `continued` where luck is as good an explanation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.study_records import FakeArm, fake_record, scores, written

from sftkey_data.errors import SFTKeyError
from sftkey_train.study.report.study_results import DatasetResults, read_results
from sftkey_train.study.selection import CHANCE, choose, expected_gain

STAGE1, CONTINUED = FakeArm(correct=0.3), FakeArm(correct=0.4)
BETTER = FakeArm(correct=0.6)


def read(tmp_path: Path, arms: Mapping[str, FakeArm], **how: Any) -> DatasetResults:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, **arms}, **how)
    return read_results(written(record, tmp_path / "study.json")).datasets[0]


def standings(dataset: DatasetResults) -> dict[str, str]:
    return {contender.name: contender.standing for contender in choose(dataset).contenders}


def test_the_most_accurate_of_the_better_arms_is_chosen(tmp_path: Path) -> None:
    key100 = FakeArm(correct=0.7, table={"like": "weighted"})
    dataset = read(tmp_path, {"weighted": BETTER, "key100": key100, "sftkey": FakeArm(correct=0.2)})
    assert choose(dataset).arm == "key100"
    assert standings(dataset) == {"key100": "better", "weighted": "better", "sftkey": "not shown better"}
    gained = expected_gain(dataset, "key100")
    assert gained is not None
    assert (gained.part, gained.purpose, gained.rate.shown) == ("test", "claim", True)
    assert gained.rate.difference == pytest.approx(0.3, abs=0.05)


def test_the_choice_is_the_same_whatever_the_test_set_says(tmp_path: Path) -> None:
    arms = {"stage1": STAGE1, "continued": CONTINUED, "weighted": BETTER, "sftkey": FakeArm(correct=0.45)}
    record = fake_record(arms)
    chosen = choose(read_results(written(record, tmp_path / "study.json")).datasets[0])
    assert chosen.arm == "weighted"
    for run in record["runs"]:  # on test, the best arm knows nothing and the others everything
        num = run["scores"]["test"]["n"]
        marks = np.full(num, run["arm"] != "weighted")
        run["scores"]["test"] = scores(dict.fromkeys(("format_valid", "correct", "lenient_correct", "slip"), marks))
    poisoned = read_results(written(record, tmp_path / "study.json")).datasets[0]
    assert choose(poisoned) == chosen
    gained = expected_gain(poisoned, chosen.arm)
    assert gained is not None
    assert gained.rate.difference == -1.0
    for run in record["runs"]:
        run["scores"].pop("test")
    assert choose(read_results(written(record, tmp_path / "study.json")).datasets[0]) == chosen


def test_arms_that_differ_in_name_alone_are_not_recommended(tmp_path: Path) -> None:
    same = fake_record({"stage1": STAGE1, "continued": CONTINUED})
    named = {"like": "continued"}
    same["runs"] += [run | {"arm": "twin"} for run in same["runs"] if run["arm"] == "continued"]
    same["study"]["arms"]["twin"] = named
    dataset = read_results(written(same, tmp_path / "study.json")).datasets[0]
    assert (choose(dataset).arm, standings(dataset)) == ("continued", {"twin": "not shown better"})


@pytest.mark.slow
def test_luck_is_recommended_as_seldom_as_the_rule_says(tmp_path: Path) -> None:
    lucky = 0
    for trial in range(100):
        names = {f"arm{trial}x{i}": FakeArm(correct=0.4, spread=0.05, table={"like": "weighted"}) for i in range(5)}
        dataset = read(tmp_path, names, claim=[3 * trial, 3 * trial + 1, 3 * trial + 2], num_items=100)
        lucky += choose(dataset).arm != "continued"
    assert lucky <= 100 * CHANCE + 5  # two standard errors


def test_an_arm_whose_format_is_shown_worse_is_out_and_the_next_is_chosen(tmp_path: Path) -> None:
    careless = FakeArm(correct=0.9, valid=0.85)
    dataset = read(tmp_path, {"sftkey": careless, "weighted": BETTER})
    assert choose(dataset).arm == "weighted"
    assert standings(dataset) == {"sftkey": "format shown worse", "weighted": "better"}


def test_seeds_for_tuning_decide_where_there_are_some(tmp_path: Path) -> None:
    dataset = read(tmp_path, {"weighted": BETTER, "sftkey": BETTER}, claim=[0, 1], tuning=[7, 8, 9])
    chosen = choose(dataset)
    assert (chosen.purpose, chosen.contenders[0].accuracy.seeds) == ("tuning", (7, 8, 9))
    claims = {
        name: replace(arm, parts={at: marks for at, marks in arm.parts.items() if at[1] == "tuning"})
        for name, arm in dataset.arms.items()
    }
    assert choose(DatasetResults(dataset.name, claims)) == chosen
    assert choose(read(tmp_path, {"weighted": BETTER}, claim=[0, 1])).purpose == "claim"


def test_with_one_seed_the_interval_is_over_its_items(tmp_path: Path) -> None:
    dataset = read(tmp_path, {"weighted": BETTER}, claim=[0])
    (contender,) = choose(dataset).contenders
    assert (contender.standing, choose(dataset).confidence) == ("better", 0.9)
    assert contender.accuracy.rate.low is not None
    assert 0 < contender.accuracy.rate.low < contender.accuracy.rate.difference
    assert choose(read(tmp_path, {"weighted": FakeArm(correct=0.42)}, claim=[0])).arm == "continued"


def test_an_arm_with_a_result_of_one_seed_is_not_judged_by_that_where_there_are_more(tmp_path: Path) -> None:
    record = fake_record({"stage1": STAGE1, "continued": CONTINUED, "rft": BETTER})
    record["runs"] = [run for run in record["runs"] if run["arm"] != "rft" or run["seed"] == 1]
    dataset = read_results(written(record, tmp_path / "study.json")).datasets[0]
    assert (choose(dataset).arm, standings(dataset)) == ("continued", {"rft": "not shown better"})


def test_controls_and_what_does_not_start_from_stage_1_are_not_recommended(tmp_path: Path) -> None:
    arms = {"placebo": BETTER, "key_tag": BETTER, "noise": replace(BETTER, table={"like": "placebo"})}
    dataset = read(tmp_path, {**arms, "sftkey": CONTINUED})
    assert standings(dataset) == {"sftkey": "not shown better"}
    assert choose(dataset).arm == "continued"


def test_nothing_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="sums: no run of 'continued' is finished"):
        choose(read(tmp_path, {"weighted": BETTER}, finished=1))
    with pytest.raises(SFTKeyError, match="sums: no arm but 'continued' has a finished run"):
        choose(read(tmp_path, {"weighted": BETTER}, claim=[0], finished=2))


def test_an_arm_of_another_length_is_held_against_plain_training_of_that_length(tmp_path: Path) -> None:
    twice = {"continued_long": FakeArm(correct=0.7, steps=200, table={"like": "continued"})}
    no_better = {"long": FakeArm(correct=0.69, steps=200, table={"like": "weighted"})}
    dataset = read(tmp_path, {**no_better, **twice})
    assert standings(dataset) == {"continued_long": "better", "long": "not shown better"}
    assert choose(dataset).arm == "continued_long"
    better = {"long": FakeArm(correct=0.8, steps=200, table={"like": "weighted"}), "short": BETTER}
    dataset = read(tmp_path, {**better, **twice})
    assert choose(dataset).arm == "long"
    over = {contender.name: contender.accuracy.first for contender in choose(dataset).contenders}
    assert over == {"long": "continued_long", "continued_long": "continued", "short": "continued"}
    gained = expected_gain(dataset, "long")
    assert gained is not None
    assert gained.first == "continued_long"
    assert gained.rate.difference == pytest.approx(0.1, abs=0.05)
