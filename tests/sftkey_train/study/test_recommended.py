"""recommended.toml: a whole recipe of the chosen arm, what it says of the choice, and what `--select` refuses."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from report.study_records import FakeArm, fake_record, written
from studies import begin, tables, write

from sftkey_train.cli import main
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run
from sftkey_train.study.recommended import Recommendation, write_recommended
from sftkey_train.study.study_file import load_study
from sftkey_train.study.study_runner import open_study
from sftkey_train.study.study_sets import make_sets

ARMS = {"stage1": FakeArm(correct=0.3), "continued": FakeArm(correct=0.4)}


def recommended(folder: Path, study: Mapping[str, Any], arms: Mapping[str, FakeArm]) -> list[Recommendation]:
    """What is recommended of a study whose scores are invented; nothing is trained."""
    folder.mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / ".sftkey-study").touch()
    seeds, datasets = study["seeds"], list(study["datasets"])
    record = fake_record({**ARMS, **arms}, claim=seeds["claim"], tuning=seeds["tuning"], datasets=datasets)
    record["study"]["arms"] = study["arms"]
    written(record, folder / "out" / "study.json")
    return list(write_recommended(open_study(write(folder / "study.toml", study))))


def loaded(recommendation: Recommendation) -> Recipe:
    return load_recipe(recommendation.path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sets")
    study = load_study(write(folder / "study.toml", tables(folder / "out")))
    return {part: str(path) for part, path in make_sets(study, folder)["sums"].folders.items()}


@pytest.fixture
def study(tmp_path: Path, prepared: dict[str, str]) -> dict[str, Any]:
    study = tables(tmp_path / "out") | {"seeds": {"claim": [0, 1, 2], "tuning": []}, "datasets": {"sums": prepared}}
    study["arms"] = {"continued": {}, "key100": {"like": "weighted", "weights": {"cot": 1, "key": 100}, "lr": 1e-3}}
    return study


def test_the_recipe_is_stage_1_and_the_chosen_arm_as_the_study_had_them(study: dict[str, Any], tmp_path: Path) -> None:
    (found,) = recommended(tmp_path, study, {"key100": FakeArm(correct=0.6)})
    assert (found.arm, found.path) == ("key100", tmp_path / "out" / "recommended.toml")
    recipe = loaded(found)
    assert [(stage.name, stage.init_from, stage.steps, stage.lr) for stage in recipe.stages] == [
        ("stage1", None, 6, 5e-3),
        ("key100", "stage1", 4, 1e-3),
    ]
    assert (recipe.stages[1].region_weights.cot, recipe.stages[1].region_weights.key) == (1, 100)
    assert (recipe.seed, recipe.out) == (0, tmp_path / "out-recommended")
    assert sum("stage 'key100'" in str(line) or "key100" in str(line) for line in dry_run(recipe)) >= 1
    assert not recipe.out.exists()


def test_the_file_says_what_was_compared_and_what_to_expect(study: dict[str, Any], tmp_path: Path) -> None:
    study["arms"]["sftkey"] = {}
    arms = {"key100": FakeArm(correct=0.6), "sftkey": FakeArm(correct=0.2)}
    (found,) = recommended(tmp_path, study, arms)
    assert re.match(r"on sums, train stage 1 and then `key100`: expect \+\d+\.\d points ", found.sentence)
    assert "points (95 % +" in found.sentence
    assert found.sentence.endswith("of accuracy over the same amount of plain training (test, 3 seeds)")
    said = found.path.read_text().split("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in said)
    assert said[0] == f"# {found.sentence}"
    assert "# Chosen on validation (3 seeds for claims; the study has none for tuning; 200 items)." in said
    rows = [line.split() for line in said if line.startswith("#   ")]
    assert [(row[1], " ".join(row[5:])) for row in rows[1:3]] == [("key100", "better"), ("sftkey", "not shown better")]
    line = json.loads(found.to_json())
    assert (line["arm"], line["dataset"], set(line["gain_on_test"])) == (
        "key100",
        "sums",
        {"difference", "low", "high"},
    )


def test_without_a_better_arm_plain_training_is_recommended(study: dict[str, Any], tmp_path: Path) -> None:
    (found,) = recommended(tmp_path, study, {"key100": FakeArm(correct=0.4)})
    assert (found.arm, found.gain) == ("continued", None)
    assert "train stage 1 and then `continued`: no stage 2 is shown better than this plain training" in found.sentence
    assert [stage.name for stage in loaded(found).stages] == ["stage1", "continued"]


def test_each_of_several_datasets_has_its_own(study: dict[str, Any], tmp_path: Path) -> None:
    study["datasets"]["more"] = study["datasets"]["sums"]
    found = recommended(tmp_path, study, {"key100": FakeArm(correct=0.6)})
    assert [one.path.name for one in found] == ["recommended-sums.toml", "recommended-more.toml"]
    assert [one.dataset for one in found] == ["sums", "more"]
    assert len({loaded(one).out for one in found}) == 2


def test_adapters_on_a_full_stage_1_start_from_that_of_the_study(study: dict[str, Any], tmp_path: Path) -> None:
    study["arms"] = {"continued": {}, "lora_stage2": {}}
    (found,) = recommended(tmp_path, study, {"lora_stage2": FakeArm(correct=0.6)})
    recipe = loaded(found)
    assert ([stage.name for stage in recipe.stages], recipe.lora is not None) == (["lora_stage2"], True)
    assert recipe.model.path is not None
    assert Path(recipe.model.path).parts[-3:] == ("training", "stage1", "final")
    assert "# This trains stage 2 from the study's own stage 1 of seed 0" in found.path.read_text()


def test_own_words_are_those_of_the_stage_1_that_the_study_trained(study: dict[str, Any], tmp_path: Path) -> None:
    study["arms"] = {"continued": {}, "rft": {}}
    (found,) = recommended(tmp_path, study, {"rft": FakeArm(correct=0.6)})
    recipe = loaded(found)
    assert [stage.name for stage in recipe.stages] == ["rft"]
    assert recipe.model.path is not None
    assert Path(recipe.model.path).parts[-3:] == ("training", "stage1", "final")
    assert recipe.data.parts[-3:-2] + recipe.data.parts[-1:] == ("seed-0", "own")


def test_two_seeds_for_tuning_are_called_few(study: dict[str, Any], tmp_path: Path) -> None:
    study["seeds"] = {"claim": [0], "tuning": [7, 8]}
    (found,) = recommended(tmp_path, study, {"key100": FakeArm(correct=0.6, spread=0.1)})
    assert "not shown better; with two seeds hardly anything can be, three or more tell)" in found.sentence


def test_another_length_is_said(study: dict[str, Any], tmp_path: Path) -> None:
    (found,) = recommended(tmp_path, study, {"key100": FakeArm(correct=0.6, steps=500)})
    assert "over `continued`, which has another length" in found.sentence


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"weighted": {}}, "arms: --select compares with the arm 'continued', plain training; found weighted"),
        ({"continued": {"like": "weighted"}}, "found continued"),
        ({"continued": {}, "placebo": {}, "key_tag": {}}, "arms: --select has nothing to choose from"),
        ({"continued": {}, "sftkey": {}, "sums": ["sftkey"]}, "datasets.sums: arms: --select compares with the arm"),
    ],
)
def test_a_study_without_a_choice_is_refused_before_it_begins(
    arms: dict[str, Any],
    said: str,
    study: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "sums" in arms:  # those that the dataset names
        study["datasets"]["sums"] = study["datasets"]["sums"] | {"arms": arms["sums"]}
    table = {name: arm for name, arm in arms.items() if name != "sums"}
    path = write(tmp_path / "study.toml", study | {"arms": table})
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "study", str(path), "--select"])
    with pytest.raises(SystemExit, match="1"):
        main()
    output = capsys.readouterr()
    assert said in output.err
    assert (output.out, (tmp_path / "out").exists()) == ("", False)


def test_a_part_of_a_study_is_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "study", str(tmp_path / "s.toml"), "--select", "--seeds", "0:1"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--select chooses from the whole study" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_where_the_key_is_a_copy_plain_training_is_recommended(tmp_path: Path) -> None:
    study = tables(tmp_path / "out") | {"seeds": {"claim": [0, 1], "tuning": []}}
    study["model"]["config"] |= {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.06}
    study["datasets"]["sums"]["arithmetic"] = {"kind": "sums", "regime": "copy", "max_steps": 2, "max_value": 20}
    study["datasets"]["sums"]["sizes"] = {"train": 2000, "validation": 200, "test": 100}
    study["stage1"] |= {"steps": 300, "batch_size": 32, "lr": 3e-3, "save_every": 0}
    study["stage2"] = {"steps": 60, "lr": 1e-3}
    study["arms"] = {"continued": {}, "sftkey": {"lr": 2e-4}, "weighted": {}}
    study["evaluation"] = {}
    out, err = begin(write(tmp_path / "study.toml", study), "--select").communicate(timeout=1800)
    assert out, err[-500:]
    *_, line = out.splitlines()
    assert json.loads(line) == {
        "recommended": str(tmp_path / "out" / "recommended.toml"),
        "dataset": "sums",
        "arm": "continued",
        "gain_on_test": None,
    }
    assert "on sums, train stage 1 and then `continued`" in err
