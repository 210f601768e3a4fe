"""What a study has to find: a difference that is there, and none between arms that differ in name alone."""

import tomllib
from pathlib import Path

import pytest
from studies import ROOT, finished, write

from sftkey_train.study.report.arm_gains import Gain
from sftkey_train.study.report.study_numbers import DatasetNumbers, study_numbers
from sftkey_train.study.report.study_results import read_results

STUDIES = ROOT / "benchmarks" / "results" / "study"


def dataset_of(results: Path) -> DatasetNumbers:
    return study_numbers(read_results(results)).datasets[0]


def assert_positive(gain: Gain | None) -> None:
    assert gain is not None
    assert gain.rate.shown, gain
    assert gain.rate.difference > 0.0


def test_the_record_of_the_positive_control_shows_its_difference() -> None:
    assert_positive(dataset_of(STUDIES / "starved.json.gz").on_test("anchored"))


@pytest.mark.slow
def test_a_starved_key_is_found_and_another_name_is_not(tmp_path: Path) -> None:
    study = tomllib.loads((STUDIES / "starved.toml").read_text())
    study |= {"out": str(tmp_path / "out"), "arms": {**study["arms"], "renamed": {"like": "continued"}}}
    finished(write(tmp_path / "study.toml", study), workers=2)
    found = dataset_of(tmp_path / "out" / "study.json")
    assert_positive(found.on_test("anchored"))
    renamed = found.on_test("renamed")
    assert renamed is not None
    assert not renamed.rate.shown
    assert renamed.rate.difference == 0.0
