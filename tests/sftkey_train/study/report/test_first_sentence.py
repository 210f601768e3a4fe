"""The first sentence is true of every study: of a good arm, of none, of one seed, of half a study, of odd arms."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_records import FakeArm, fake_record, scores, written

from sftkey_train.study.report.first_sentence import first_sentences, in_short
from sftkey_train.study.report.study_numbers import study_numbers
from sftkey_train.study.report.study_results import ITEM_MARKS, read_results

STAGE1, CONTINUED = FakeArm(correct=0.3, slip=0.6), FakeArm(correct=0.4, slip=0.5, spread=0.02)
SFTKEY, WEIGHTED = FakeArm(correct=0.35, spread=0.02), FakeArm(correct=0.6, spread=0.02)
ARMS = {"stage1": STAGE1, "continued": CONTINUED, "sftkey": SFTKEY, "weighted": WEIGHTED}
NUMBER = r"(?:[+−]\d+\.\d|0\.0)"
INTERVAL = rf"95\u202f% {NUMBER} to {NUMBER}"


def said(tmp_path: Path, record: Mapping[str, Any]) -> list[str]:
    return first_sentences(study_numbers(read_results(written(record, tmp_path / "study.json"))))


def without(*names: str) -> dict[str, FakeArm]:
    return {name: arm for name, arm in ARMS.items() if name not in names}


def test_a_good_arm_is_named_with_its_interval_and_the_papers_beside_it(tmp_path: Path) -> None:
    record = fake_record(ARMS)
    (sentence,) = said(tmp_path, record)
    assert re.fullmatch(
        rf"On this data `weighted` gives \+\d\d\.\d points over the same amount of plain training, {INTERVAL}, "
        rf"3 seeds; the paper's stage 2 gives −\d\.\d \({INTERVAL}\)\.",
        sentence,
    )


def test_the_arm_named_is_the_best_on_validation_whatever_test_says(tmp_path: Path) -> None:
    arms = ARMS | {"lucky": FakeArm(correct=0.9, validation=0.41), "weighted": FakeArm(correct=0.2, validation=0.8)}
    record = fake_record(arms)
    (sentence,) = said(tmp_path, record)
    assert sentence.startswith("On this data `weighted` gives −2")
    for run in record["runs"]:  # poisoned
        if run["arm"] == "lucky":
            every = np.ones(200, dtype=bool)
            run["scores"]["test"] = scores(dict.fromkeys(ITEM_MARKS, every))
    assert said(tmp_path, record) == [sentence]


def test_no_arm_is_better(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, fake_record(without("weighted")))
    assert re.fullmatch(
        "On this data no arm is better than the same amount of plain training on validation; the best of them, the "
        rf"paper's stage 2, `sftkey`, gives −\d\.\d points, {INTERVAL}, 3 seeds\.",
        sentence,
    )


def test_an_interval_that_contains_0_shows_no_difference(tmp_path: Path) -> None:
    arms = without("sftkey") | {"weighted": FakeArm(correct=0.42, spread=0.1, validation=0.7)}
    (sentence,) = said(tmp_path, fake_record(arms))
    assert re.search(rf"{INTERVAL}, 3 seeds, which shows no difference\.$", sentence)


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, fake_record(ARMS, claim=[4]))
    assert "points over the same amount of plain training, one seed, so no interval; the paper's stage 2" in sentence
    assert "95" not in sentence


def test_a_study_of_another_length_than_the_control_is_not_called_the_same_amount(tmp_path: Path) -> None:
    arms = without("sftkey") | {"weighted": FakeArm(correct=0.6, steps=200)}
    assert "over plain training of another length (`continued`)" in said(tmp_path, fake_record(arms))[0]


def test_without_the_control_arms_are_held_against_stage_1_and_it_says_so(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, fake_record(without("continued")))
    assert "points over stage 1 alone (without an arm `continued`, more training may be all there is to it)" in sentence


def test_the_papers_arm_may_have_another_name(tmp_path: Path) -> None:
    arms = without("sftkey") | {"answer": FakeArm(correct=0.35, table={"like": "sftkey"})}
    assert "; the paper's stage 2, `answer`, gives −" in said(tmp_path, fake_record(arms))[0]


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        (0, "Nothing of this study is finished: 0 of 12 runs."),
        (1, "So far (1 of 12 runs), on this data no two arms are finished that could be compared."),
    ],
)
def test_a_study_that_has_hardly_begun(tmp_path: Path, finished: int, expected: str) -> None:
    assert said(tmp_path, fake_record(ARMS, finished=finished)) == [expected]


def test_a_study_that_has_only_the_control_yet(tmp_path: Path) -> None:
    (sentence,) = said(tmp_path, fake_record(ARMS, finished=2))
    expected = (
        r"So far \(2 of 12 runs\), on this data more plain training gives \+\d+\.\d points over stage 1, one seed, "
        r"so no interval; no other arm is finished\."
    )
    assert re.fullmatch(expected, sentence)


def test_a_study_whose_tuning_seeds_alone_are_finished(tmp_path: Path) -> None:
    record = fake_record(ARMS, tuning=[9])
    record["runs"] = [run for run in record["runs"] if run["role"] == "tuning"]
    record["num_finished"] = 4
    (sentence,) = said(tmp_path, record)
    assert re.search(r"`weighted` is best on validation, \+\d+\.\d points over .*; test is not finished\.$", sentence)
    record["runs"], record["num_finished"] = record["runs"][:3], 3
    (sentence,) = said(tmp_path, record)
    assert re.search(r"no arm is better than .*, is −\d+\.\d points from it there; test is not finished\.$", sentence)


def test_several_datasets_have_a_sentence_each_in_the_order_of_the_study(tmp_path: Path) -> None:
    found = said(tmp_path, fake_record(ARMS, datasets=["steps", "copies"]))
    assert [sentence.split(",")[0] for sentence in found] == ["On `steps`", "On `copies`"]


def test_of_several_sentences_the_first_says_how_much_is_finished(tmp_path: Path) -> None:
    first, second = said(tmp_path, fake_record(ARMS, datasets=["steps", "copies"], finished=3))
    assert first.startswith("So far (3 of 24 runs), on `steps`, ")
    assert second.startswith("On `copies`, ")


def test_several_datasets_are_summed_up_by_what_test_shows_of_the_arm_validation_chose(tmp_path: Path) -> None:
    good, bad = fake_record(ARMS, datasets=("first", "second")), FakeArm(correct=0.2, validation=0.8)
    harmful = fake_record(ARMS | {"weighted": bad}, datasets=("third",))
    none = fake_record(without("weighted"), datasets=("fourth",))
    every = (good, harmful, none)
    record = good | {"runs": [run for each in every for run in each["runs"]]}
    record["study"]["datasets"] = {name: {} for each in every for name in each["study"]["datasets"]}
    record["num_runs"] = record["num_finished"] = len(record["runs"])
    (sentence,) = in_short(study_numbers(read_results(written(record, tmp_path / "study.json"))))
    assert sentence == (
        "The stage 2 that validation chose is shown to beat plain training on 2 of 4 datasets (`first`, "
        "`second`), and to lose to it on 1 (`third`); on the other 1 nothing is shown."
    )


def test_one_dataset_needs_no_summary(tmp_path: Path) -> None:
    assert in_short(study_numbers(read_results(written(fake_record(ARMS), tmp_path / "study.json")))) == []
