"""What a study file may say, and the one line that each mistake in it gets before anything is written."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import SUMS, begin, tables, write

from sftkey_data.errors import SFTKeyError
from sftkey_train.cli import main
from sftkey_train.study.named_arms import NAMED_ARMS, study_arms
from sftkey_train.study.plan_lines import plan_lines
from sftkey_train.study.study_file import load_study
from sftkey_train.study.study_runner import open_study

Change = Callable[[dict[str, Any]], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "a misspelt key": (lambda t: t.update(sedes=t.pop("seeds")), r"unknown key 'sedes' \(did you mean 'seeds'\?\)"),
    "a misspelt key of a set": (
        lambda t: t["datasets"]["sums"].update(tran="data"),
        r"unknown key 'datasets\.sums\.tran' \(did you mean 'train'\?\)",
    ),
    "a misspelt arm": (
        lambda t: t["arms"].update(weigthed={}),
        r"arms\.weigthed: unknown arm 'weigthed' \(did you mean 'weighted'\?\)",
    ),
    "a misspelt arm of a set": (
        lambda t: t["datasets"]["sums"].update(arms=["continued", "sftky"]),
        r"datasets\.sums: arms: 'sftky' is not in the study \(did you mean 'sftkey'\?\)",
    ),
    "a misspelt key of an arm": (
        lambda t: t["arms"]["sftkey"].update(lrr=1e-3),
        r"arms\.sftkey: unknown key 'lrr' \(did you mean 'lr'\?\)",
    ),
    "a misspelt key of all arms": (lambda t: t["stage2"].update(stepps=3), "stage2: unknown key 'stepps'"),
    "a key that the plan sets": (
        lambda t: t["arms"]["sftkey"].update(init_from="full"),
        r"arms\.sftkey: key 'init_from' is set by the study's plan",
    ),
    "a misspelt option of generated data": (
        lambda t: t["datasets"]["sums"]["arithmetic"].update(regmie="copy"),
        r"datasets\.sums: arithmetic: unknown key 'regmie' \(did you mean 'regime'\?\)",
    ),
    "a size among the options": (lambda t: t["datasets"]["sums"]["arithmetic"].update(num=3), "'num' is set by sizes"),
    "a seed for both": (lambda t: t["seeds"].update(tuning=[0]), "seed 0 is in 'claim' and in 'tuning'"),
    "a seed twice": (lambda t: t["seeds"].update(claim=[0, 3, 3]), "seed 3 is twice in 'claim'"),
    "the first seed twice": (lambda t: t["seeds"].update(claim=[0, 0]), "seed 0 is twice in 'claim'"),
    "a seed that no generator takes": (lambda t: t["seeds"].update(claim=[2**63]), r"seeds\.claim.*less than 92233"),
    "an arm that no folder can be named by": (
        lambda t: t["arms"].update({"a" * 101: {"like": "continued"}}),
        "String should have at most 100 characters, found 'aaa",
    ),
    "no claim seed": (lambda t: t["seeds"].update(claim=[]), r"seeds\.claim"),
    "an arm called stage1": (lambda t: t["arms"].update(stage1={}), r"arms\.stage1: the name is that of"),
    "no arms": (lambda t: t.update(arms={}), "arms"),
    "two of three folders": (
        lambda t: t["datasets"].update(mine={"train": "a", "test": "b"}),
        "key 'validation' is missing",
    ),
    "folders and options": (lambda t: t["datasets"]["sums"].update(train="a"), "found both"),
    "options and a source": (
        lambda t: t["datasets"]["sums"].update(source="gsm8k"),
        "datasets.sums: expected either arithmetic or source, found both",
    ),
    "sizes of a source": (
        lambda t: t["datasets"].update(mine={"source": "gsm8k", "sizes": {"train": 3}}),
        "datasets.mine: 'sizes' is of a set with arithmetic, this one has source",
    ),
    "a tokenizer of folders": (
        lambda t: t["datasets"].update(mine={"train": "a", "validation": "b", "test": "c", "tokenizer": "d"}),
        "'tokenizer' is of a set with arithmetic or source, this one has train, validation and test",
    ),
    "shares that leave nothing": (
        lambda t: t["datasets"].update(mine={"source": "gsm8k", "shares": {"validation": 0.5, "test": 0.5}}),
        "validation and test together leave no question",
    ),
    "an unknown source": (lambda t: t["datasets"].update(mine={"source": "gsm8"}), "did you mean 'gsm8k'"),
    "no threads": (lambda t: t.update(threads=0), "threads"),
    "a model's own code": (lambda t: t["model"].update(trust_remote_code=True), "trust_remote_code"),
    "greedy samples": (lambda t: t.update(own={"temperature": 0}), "own: samples means nothing at temperature 0"),
    "a misspelt setting of own words": (
        lambda t: t["arms"].update(rft={"own": {"sampels": 2}}),
        r"arms\.rft: own: unknown key 'sampels' \(did you mean 'samples'\?\)",
    ),
    "own words that no arm keeps": (
        lambda t: t["arms"].update(rft={"keep": "corect"}),
        r"arms\.rft: .*found 'corect' \(did you mean 'correct'\?\)",
    ),
    "own words for an arm without": (
        lambda t: t["arms"]["sftkey"].update(keep="correct"),
        r"arms\.sftkey: key 'keep' is for arms that train on the model's own words: own_cot, rft",
    ),
    "other data for own words": (
        lambda t: t["arms"].update(rft={"data": "data/mine"}),
        r"arms\.rft: key 'data' is what stage 1 has written, found 'data/mine'",
    ),
    "no learning rate": (lambda t: t["stage1"].pop("lr"), "stage1: key 'lr' is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_refused_in_one_line_before_anything_is_written(fault: str, tmp_path: Path) -> None:
    change, said = FAULTS[fault]
    study = tables(tmp_path / "out")
    change(study)
    path = write(tmp_path / "study.toml", study)
    with pytest.raises(SFTKeyError, match=said) as caught:
        open_study(path)
    assert re.match(rf"{re.escape(str(path))}: ", str(caught.value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_arm_is_its_name_over_what_all_arms_have_in_common(tmp_path: Path) -> None:
    study = tables(tmp_path / "out")
    study["stage1"] |= {"warmup_ratio": 0.1, "steps": 50}
    study["stage2"] = {"epochs": 2, "lr": 1e-4}
    study["arms"] = {
        "weighted": {"warmup_steps": 3},
        "key300": {"like": "weighted", "weights": {"key": 300}, "lr": 1e-5},
        "continued": {"weights": {"cot": 1, "key": 2}},
        "key_tag": {},
        "lora_stage2": {"lora": {"r": 4}},
    }
    arms = study_arms(load_study(write(tmp_path / "study.toml", study)), "study.toml")
    assert list(arms) == ["stage1", *study["arms"]]
    weighted, key300, key_tag = (arms[name].stage for name in ("weighted", "key300", "key_tag"))
    assert (weighted.epochs, weighted.steps, weighted.lr, weighted.batch_size) == (2, None, 1e-4, 8)
    assert (weighted.warmup_steps, weighted.warmup_ratio) == (3, 0.0)
    assert (weighted.region_weights.cot, weighted.region_weights.key) == (1, 40)
    assert (key300.region_weights.cot, key300.region_weights.key, key300.lr) == (0, 300, 1e-5)
    assert arms["continued"].stage.loss_on is None
    assert (key_tag.steps, key_tag.lr, key_tag.loss_on, arms["key_tag"].start) == (50, 5e-3, "answer", "model")
    assert arms["lora_stage2"].lora is not None
    assert arms["lora_stage2"].lora.r == 4
    assert arms["weighted"].lora is None


def test_the_arms_by_name_are_those_of_the_documentation() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text.split("### Arms by name")[1], re.MULTILINE) == list(NAMED_ARMS)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(SFTKeyError, match=r"is not empty and holds no study, found notes\.txt"):
        open_study(write(tmp_path / "study.toml", tables(tmp_path / "out")))


def test_parts_with_the_same_examples_are_refused(data_dir: Path, tmp_path: Path) -> None:
    from studies import finished

    study = tables(tmp_path / "out")
    study["datasets"] = {"mine": {part: str(data_dir) for part in ("train", "validation", "test")}}
    with pytest.raises(SFTKeyError, match=r"datasets\.mine: validation .* holds the same examples as train"):
        finished(write(tmp_path / "study.toml", study))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "sftkye"], "--only sftkye: not in the study (did you mean 'sftkey'?)"),
        (["--dataset", "sum"], "--dataset sum: not in the study (did you mean 'sums'?)"),
        (["--seeds", "1-3"], "--seeds '1-3': expected A:B"),
        (["--seeds", "1:7"], "--seeds 1:7: no seed of the study is in it; there are 0, 7"),
    ],
)
def test_what_the_study_does_not_have_is_refused(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "study.toml", tables(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["sftkey-train", "study", str(path), *arguments])
    with pytest.raises(SystemExit, match="1"):
        main()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {said}")
    assert not (tmp_path / "out").exists()


def test_help_shows_an_example() -> None:
    said, _ = begin(Path("--help")).communicate(timeout=60)
    assert "Example: sftkey-train study train/recipes/studies/small.toml" in said


def test_the_ready_study_is_sound() -> None:
    path = Path(__file__).resolve().parents[3] / "train" / "recipes" / "studies" / "small.toml"
    study = load_study(path)
    assert set(study_arms(study, str(path))) == {"stage1", "continued", "sftkey", "annealed"}
    assert study.datasets["choice"].arithmetic is not None
    assert set(study.datasets["choice"].arithmetic) >= set(SUMS) - {"min_steps"}


def test_a_study_of_ones_own_data_needs_model_data_and_stage_1_alone(tmp_path: Path) -> None:
    study = {key: value for key, value in tables(tmp_path / "out").items() if key in ("name", "out", "model", "stage1")}
    study["datasets"] = {"mine": {part: str(tmp_path / part) for part in ("train", "validation", "test")}}
    path = write(tmp_path / "study.toml", study)
    loaded = load_study(path)
    assert (loaded.seeds.claim, loaded.seeds.tuning) == ((0, 1, 2, 3, 4), ())
    arms = study_arms(loaded, str(path))
    assert list(arms) == ["stage1", "continued", "sftkey", "weighted", "annealed"]
    assert all(arm.stage.steps == 6 for arm in arms.values())


def test_a_set_may_name_the_arms_that_are_trained_on_it(tmp_path: Path) -> None:
    study = tables(tmp_path / "out")
    study["datasets"]["more"] = {**study["datasets"]["sums"], "arms": ["continued"]}
    lines = list(plan_lines(open_study(write(tmp_path / "study.toml", study))))
    planned = [tuple(line.split()[:4:3]) for line in lines[2:12]]
    of_seed = [("sums", arm) for arm in ("stage1", "continued", "sftkey")]
    assert planned == 2 * of_seed + 2 * [("more", "stage1"), ("more", "continued")]
