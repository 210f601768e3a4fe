"""The arms that train on the model's own words: what is sampled, what is kept of it, and what becomes of the rest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from studies import begin, figures, finished, kill_when, tables, write
from transformers import AutoConfig

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_train.study.own_words import generate_options, make_own_examples
from sftkey_train.study.plan_lines import plan_lines
from sftkey_train.study.study_plan import PlannedRun, plan_runs
from sftkey_train.study.study_runner import open_study
from sftkey_train.study.study_sets import SETS, make_sets

SUMS = {"kind": "sums", "regime": "choice", "min_steps": 1, "max_steps": 1, "max_value": 20}
CHOICES = {"num_choices": 2, "distractor_gap": 1}


def own_tables(out: Path) -> dict[str, Any]:
    """A stage 1 that has learned some of its train set by heart, and both arms."""
    study = tables(out) | {"seeds": {"claim": [0]}, "own": {"samples": 2, "items": 32}}
    study["datasets"]["sums"]["arithmetic"] = SUMS | CHOICES
    study["stage1"] = {"steps": 120, "batch_size": 16, "lr": 5e-3}
    study["arms"] = {"own_cot": {}, "rft": {}}
    return study


def planned(study: dict[str, Any], path: Path) -> dict[str, PlannedRun]:
    opened = open_study(write(path, study))
    sets = make_sets(opened.study, path.parent / SETS)
    return {run.arm.name: run for run in plan_runs(opened.study, opened.arms, sets)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran in one go."""
    folder = tmp_path_factory.mktemp("own")
    finished(write(folder / "study.toml", own_tables(folder / "out")))
    return folder / "out"


def results(done: Path) -> dict[str, dict[str, Any]]:
    return {run["arm"]: run for run in figures(done)["runs"]}


def test_every_completion_is_an_example_or_left_out_for_a_reason(done: Path) -> None:
    own_cot, rft = results(done)["own_cot"], results(done)["rft"]
    for own in (own_cot["own"], rft["own"]):
        assert (own["items"], own["sampled"]) == (32, 64)
        assert own["examples"] + sum(own["left_out"].values()) == sum(own["error_classes"].values()) == 64
        assert own["examples"] == sum(own["examples_by_class"].values())
        assert 2 * 17_000 * 64 * 20 < own["flops"] < 2 * 30_000 * 64 * 60  # parameters, completions, tokens of each
        assert own["new_tokens"] > 64
        assert own["epochs"] == 4 * 16 / own["examples"]
    assert set(rft["own"]["examples_by_class"]) == {"correct"}
    assert set(own_cot["own"]["examples_by_class"]) == {"correct", "slip"}
    assert own_cot["own"]["key"] == rft["own"]["key"]
    seconds = json.loads((done / "study.json").read_text())["runs"][1]["own"]["seconds"]
    assert set(seconds) == {"sampling", "scoring"}
    assert all(value > 0 for value in seconds.values())


def test_they_have_the_steps_of_the_other_arms_and_the_loss_of_theirs(done: Path) -> None:
    own_cot, rft = results(done)["own_cot"], results(done)["rft"]
    assert own_cot["steps"] == rft["steps"] == 4
    assert own_cot["supervised_tokens"] < rft["supervised_tokens"] < rft["tokens"]
    assert own_cot["weights"] != rft["weights"]


def test_examples_are_those_of_the_commands(done: Path, tmp_path: Path) -> None:
    run = planned(own_tables(done), tmp_path / "study.toml")["own_cot"]
    assert run.own is not None
    asked = generate_options(run.own.sampling)
    options = GenerateOptions(
        model=asked.model,
        data=asked.data,
        batch_size=100,
        max_new_tokens=asked.max_new_tokens,
        temperature=0.7,
        num_samples=2,
        seed=asked.seed,
        limit=32,
        device="cpu",
    )
    generate(options, tmp_path / "completions.jsonl")
    verdicts = tmp_path / "verdicts.parquet"
    score_file(tmp_path / "completions.jsonl", verdicts, ScoreOptions())
    assert pq.read_table(verdicts).equals(pq.read_table(run.own.sampling.folder / "verdicts.parquet"))
    config = BuildConfig(
        source="completions",
        tokenizer=str(asked.data / "tokenizer"),
        options={"verdicts": str(verdicts), "keep": "correct+slips"},
    )
    assert build(config, tmp_path / "own").shards == read_manifest(run.recipe.data).shards


def test_the_gold_key_stands_behind_the_models_own_cot(done: Path, tmp_path: Path) -> None:
    run = planned(own_tables(done), tmp_path / "study.toml")["own_cot"]
    golds = {row["prompt"]: row for row in open_shards(run.dataset.folders["train"]).to_pylist()}
    rows = open_shards(run.recipe.data).to_pylist()
    own = results(done)["own_cot"]["own"]
    assert len(rows) == own["examples"]
    for row in rows:
        gold = golds[row["prompt"]]
        assert row["gold"] == gold["gold"]
        assert row["completion"][row["key_start"] : row["key_end"]] == gold["gold"]
        num = gold["prompt_tokens"]
        assert row["input_ids"][:num] == gold["input_ids"][:num]


def test_a_plan_names_what_is_to_be_sampled(done: Path, tmp_path: Path) -> None:
    study = own_tables(done)
    lines = [line.split() for line in plan_lines(open_study(write(tmp_path / "study.toml", study)))]
    (row,) = [line for line in lines if "words)" in line]
    assert row == ["sums", "0", "claim", "(own", "words)", "done", "-", "-", "-", "-", "64", "completions"]
    assert not any(line[:2] == ["to", "sample:"] for line in lines)
    study["arms"]["rft"]["own"] = {"temperature": 1.0, "samples": 3}
    lines = [line.split() for line in plan_lines(open_study(write(tmp_path / "study.toml", study)))]
    assert [line[5] for line in lines if "words)" in line] == ["done", "to"]
    assert lines[-2][:4] == ["to", "sample:", "96", "completions;"]


def test_arms_share_a_sampling_where_its_settings_are_the_same(tmp_path: Path) -> None:
    study = own_tables(tmp_path / "out")
    study["arms"] |= {
        "own_all": {"like": "own_cot", "keep": "all"},
        "own_two": {"like": "own_cot", "own": {"per_item": 2}},
        "own_hot": {"like": "own_cot", "own": {"temperature": 1.0}},
    }
    runs = planned(study, tmp_path / "study.toml")
    samplings = {name: run.own.sampling.key for name, run in runs.items() if run.own is not None}
    assert len(set(samplings.values())) == 2
    assert [name for name in samplings if samplings[name] != samplings["rft"]] == ["own_hot"]
    assert len({run.key for run in runs.values()}) == len(runs)
    study["stage1"]["lr"] = 1e-3
    after = planned(study, tmp_path / "study.toml")
    assert not {run.own.sampling.key for run in after.values() if run.own} & set(samplings.values())


def test_epochs_are_those_of_the_train_set(tmp_path: Path) -> None:
    study = own_tables(tmp_path / "out")
    study["stage2"] = {"epochs": 1.1}
    runs = planned(study, tmp_path / "study.toml")
    assert runs["rft"].recipe.stages[0].steps == 5  # 71 of 64 examples, 16 a step


def test_a_stage_1_that_gets_nothing_right_leaves_the_other_arms(tmp_path: Path) -> None:
    study = own_tables(tmp_path / "out") | {"arms": {"rft": {}, "continued": {}}}
    study["stage1"]["steps"] = 1
    study["own"] = {"samples": 2, "items": 4, "max_new_tokens": 3}
    path = write(tmp_path / "study.toml", study)
    for _ in range(2):  # the second time from its folder
        assert [result["arm"] for result in finished(path)] == ["stage1", "continued"]
    record = figures(tmp_path / "out")
    assert (record["num_runs"], record["num_finished"]) == (3, 2)
    (missing,) = record["missing"]
    said = "none of 8 completions of stage 1 is kept (keep = 'correct'): no_answer 8; left out as not_kept 8"
    assert (missing["arm"], missing["seed"], missing["why"]) == ("rft", 0, said)
    lines = list(plan_lines(open_study(path)))
    assert any(line.split()[3:5] == ["rft", "missing"] for line in lines)
    assert any("2 done, 0 begun, 0 to do, 1 without an example to train on;" in line for line in lines)


def test_a_sampling_that_was_changed_is_refused(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    (sampled,) = out.glob("runs/sums/seed-0/sampled-*")
    (sampled / "verdicts.parquet").write_bytes(b"")
    for result in out.glob("runs/sums/seed-0/rft-*/result.json"):
        result.unlink()
    with pytest.raises(SFTKeyError, match=r"verdicts\.parquet is not as it was written; delete .* to sample again"):
        finished(write(tmp_path / "study.toml", own_tables(out)))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "sampling has begun": lambda out: any(out.glob("runs/*/*/sampled-*")),
    "some is sampled": lambda out: any(out.glob("runs/*/*/sampled-*/*.partial")),
    "all is sampled": lambda out: any(out.glob("runs/*/*/sampled-*/sampled.json")),
    "examples are made": lambda out: any(out.glob("runs/*/*/own_cot-*/own*")),
}


@pytest.mark.slow
def test_a_sampling_that_is_killed_goes_on_to_the_same_figures(done: Path, tmp_path: Path) -> None:
    study = own_tables(tmp_path / "out") | {"evaluation": {"max_new_tokens": 6, "batch_size": 4}}
    path, out = write(tmp_path / "study.toml", study), tmp_path / "out"
    killed = [name for name, there in MOMENTS.items() if kill_when(begin(path), lambda there=there: there(out))]
    assert len(killed) >= 3
    finished(path)
    again = own_tables(tmp_path / "again") | {"evaluation": study["evaluation"]}
    finished(write(tmp_path / "again.toml", again))
    assert figures(out) == figures(tmp_path / "again")


@pytest.mark.slow
def test_two_jobs_give_the_figures_of_one(done: Path, tmp_path: Path) -> None:
    process = begin(write(tmp_path / "study.toml", own_tables(tmp_path / "out")), "--workers", "2")
    said, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert len(said.splitlines()) == len(figures(done)["runs"]) + 1
    assert figures(tmp_path / "out") == figures(done)


@pytest.mark.slow
@pytest.mark.parametrize("special_tokens", ["reject", "text"])
def test_prompts_of_a_chat_template_stand_as_the_model_saw_them(
    special_tokens: str, shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "own-marks.toml").write_text(
        'before_cot = "[["\nafter_cot = "]]"\nbefore_key = "{{"\nafter_key = "}}"\n'
    )
    parts = {}
    for part, num in (("train", 24), ("validation", 4), ("test", 5)):
        parts[part] = str(tmp_path / part)
        config = BuildConfig(
            source="arithmetic",
            split=part,
            tokenizer=str(shared_data / "tokenizers" / "qwen2.5"),
            template=str(tmp_path / "own-marks.toml"),
            chat=True,
            special_tokens="text" if special_tokens == "text" else "reject",
            options=SUMS | CHOICES | {"num": num},
        )
        build(config, parts[part])
    study = own_tables(tmp_path / "out") | {"datasets": {"mine": parts}}
    run = planned(study, tmp_path / "study.toml")["rft"]
    assert run.own is not None
    sampling = run.own.sampling
    AutoConfig.for_model(**study["model"]["config"]).save_pretrained(sampling.stage1.final)
    sampling.folder.mkdir(parents=True)
    gold = open_shards(Path(parts["train"])).to_pylist()
    kept = ("id", "split", "prompt", "completion", "gold", "answer_type", "choices")
    lines = [json.dumps({name: row[name] for name in kept}) for row in gold]
    (sampling.folder / "completions.jsonl").write_text("\n".join(lines) + "\n")
    options = ScoreOptions(template=str(tmp_path / "own-marks.toml"))
    score_file(sampling.folder / "completions.jsonl", sampling.folder / "verdicts.parquet", options)
    found = {"key": sampling.key, "sampled": 24, "error_classes": {}}
    found["verdicts_sha256"] = file_sha256(sampling.folder / "verdicts.parquet")
    (sampling.folder / "sampled.json").write_text(json.dumps(found))
    run.folder.mkdir(parents=True)
    facts = make_own_examples(run, run.own)
    assert isinstance(facts, dict)
    assert facts["examples"] == 24
    assert open_shards(run.recipe.data)["input_ids"].to_pylist() == [row["input_ids"] for row in gold]
    ends = [read_manifest(folder).tokenizer for folder in (run.recipe.data, Path(parts["train"]))]
    assert [info.eos_token_id for info in ends if info] == [gold[0]["input_ids"][-1]] * 2
