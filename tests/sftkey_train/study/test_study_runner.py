"""A whole study: what it leaves, from where it goes on after SIGKILL, and that processes change no figure."""

import gzip
import json
import pickle
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flipped_bits import refused_or_same
from processes import another_process
from safetensors.torch import load_file
from studies import begin, figures, finished, kill_when, tables, write

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_train import recipe_run as run_module
from sftkey_train.study import study_runner as runner_module
from sftkey_train.study.named_arms import NAMED_ARMS, study_arms
from sftkey_train.study.one_run import read_missing, read_result
from sftkey_train.study.report.study_results import read_results
from sftkey_train.study.study_file import load_study
from sftkey_train.study.study_plan import plan_runs
from sftkey_train.study.study_runner import open_study
from sftkey_train.study.study_sets import make_sets


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran in one go."""
    folder = tmp_path_factory.mktemp("study")
    finished(write(folder / "study.toml", tables(folder / "out")))
    return folder / "out"


def only(done: Path, **wanted: Any) -> dict[str, Any]:
    runs = figures(done)["runs"]
    (found,) = [run for run in runs if all(run[key] == value for key, value in wanted.items())]
    return found


def folder_of(done: Path, run: dict[str, Any]) -> Path:
    return done / "runs" / "sums" / f"seed-{run['seed']}" / f"{run['arm']}-{run['key'][:10]}"


def test_every_arm_starts_from_the_one_stage_1_of_its_seed(done: Path) -> None:
    record = figures(done)
    assert [(r["seed"], r["arm"]) for r in record["runs"]] == [
        (seed, arm) for seed in (0, 7) for arm in ("stage1", "continued", "sftkey")
    ]
    assert record["num_runs"] == record["num_finished"] == 6
    for run in record["runs"]:
        first = only(done, seed=run["seed"], arm="stage1")
        start = None if run["arm"] == "stage1" else {"key": first["key"], "weights": first["weights"]}
        assert run["inputs"]["start"] == start
        assert run["weights"] != first["weights"] or run is not first


def test_an_arm_sees_the_same_examples_in_the_same_order_as_the_control(done: Path) -> None:
    def seen(arm: str) -> list[tuple[int, int]]:
        path = folder_of(done, only(done, seed=0, arm=arm)) / "training" / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [(row["step"], row["tokens"]) for row in rows if row["kind"] == "train"]

    assert seen("continued") == seen("sftkey")
    assert [step for step, _ in seen("sftkey")] == [1, 2, 3, 4]
    assert seen("continued") != seen("stage1")[:4]


def test_costs_are_recorded_for_each_run(done: Path) -> None:
    control, paper = only(done, seed=0, arm="continued"), only(done, seed=0, arm="sftkey")
    assert control["steps"] == paper["steps"] == 4
    assert control["tokens"] == paper["tokens"] > control["supervised_tokens"] > paper["supervised_tokens"] > 4 * 8
    assert control["flops"] > paper["flops"] > 0
    seconds = json.loads((done / "study.json").read_text())["runs"][0]["seconds"]
    assert set(seconds) == {"training", "generation", "scoring", "other"}
    assert all(value > 0 for value in seconds.values())


def test_tuning_seeds_never_touch_the_test_set(done: Path) -> None:
    for run in figures(done)["runs"]:
        parts = {"validation": 8, "test": 12} if run["role"] == "claim" else {"validation": 8}
        assert {part: scores["n"] for part, scores in run["scores"].items()} == parts
        assert set(run["inputs"]["data"]) == {"train", *parts}
        assert {path.name for path in folder_of(done, run).glob("*.gz")} == {f"{part}.jsonl.gz" for part in parts}


def test_kept_completions_score_as_they_did(done: Path, tmp_path: Path) -> None:
    run = only(done, seed=0, arm="continued")
    path = folder_of(done, run) / "test.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert sum(row["format_valid"] for row in rows) == run["scores"]["test"]["format_valid"]
    tally = score_file(path, tmp_path / "verdicts.parquet", ScoreOptions(fields=Fields()))
    assert tally.counts["n"] == 12
    assert tally.counts["format_valid"] == run["scores"]["test"]["format_valid"]


def test_a_result_says_what_each_item_has_come_to(done: Path) -> None:
    run = only(done, seed=0, arm="continued")
    rows = [
        json.loads(line) for line in gzip.decompress((folder_of(done, run) / "test.jsonl.gz").read_bytes()).splitlines()
    ]
    bits = {name: f"{int(found, 16):016b}"[:12] for name, found in run["scores"]["test"]["items"].items()}
    assert set(bits) == {"format_valid", "correct", "lenient_correct", "slip"}
    for name in ("format_valid", "correct"):
        assert bits[name] == "".join(str(int(row[name])) for row in rows)
    assert bits["slip"] == "".join(str(int(row["error_class"] == "slip")) for row in rows)


def test_a_result_has_the_curve_of_what_was_held_out(done: Path) -> None:
    run = only(done, seed=0, arm="continued")
    assert [point["step"] for point in run["heldout"]] == [0, 4]
    assert all(0 <= point["forced_key_match"] <= 1 and "key" in point["loss_by_region"] for point in run["heldout"])


def test_the_same_command_again_changes_nothing(done: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "runs").rglob("*")}
    path = write(done.parent / "again.toml", tables(done))
    assert len(finished(path)) == 6
    assert {path: path.stat().st_mtime_ns for path in (done / "runs").rglob("*")} == before


@pytest.mark.slow
def test_two_jobs_give_the_figures_of_one(done: Path, tmp_path: Path) -> None:
    process = begin(write(tmp_path / "study.toml", tables(tmp_path / "out")), "--workers", "2")
    said, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    *runs, report = map(json.loads, said.splitlines())
    assert len(runs) == 6
    assert report["found"][0] in errors
    assert (tmp_path / "out" / "study.html").exists()
    assert figures(tmp_path / "out") == figures(done)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "a set is half built": lambda out: any(out.glob("sets/*/t*")),
    "stage 1 has a checkpoint": lambda out: any(out.glob("runs/*/*/stage1-*/training/*/checkpoint-4")),
    "stage 1 is trained": lambda out: any(out.glob("runs/*/*/stage1-*/training/*/final")),
    "an arm has begun": lambda out: any(out.glob("runs/*/*/sftkey-*")),
    "an arm has written": lambda out: any(out.glob("runs/*/*/sftkey-*/test.jsonl.gz")),
}


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_to_the_same_figures(done: Path, tmp_path: Path) -> None:
    path, out = write(tmp_path / "study.toml", tables(tmp_path / "out")), tmp_path / "out"
    killed = [name for name, there in MOMENTS.items() if kill_when(begin(path), lambda there=there: there(out))]
    assert len(killed) >= 4
    finished(path)
    assert figures(out) == figures(done)


@pytest.mark.slow
def test_kills_at_ten_random_moments_change_no_figure(done: Path, tmp_path: Path) -> None:
    path, out, rng = write(tmp_path / "study.toml", tables(tmp_path / "out")), tmp_path / "out", random.Random(1)
    for _ in range(10):
        until = time.monotonic() + rng.uniform(5, 20)
        kill_when(begin(path, "--workers", "2"), lambda until=until: time.monotonic() > until)
        time.sleep(1)  # its processes end by themselves
    finished(path)
    assert figures(out) == figures(done)


def test_a_changed_arm_runs_alone_and_the_rest_stays(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    study = tables(out)
    study["arms"]["sftkey"]["lr"] = 2e-3
    results = finished(write(tmp_path / "study.toml", study))
    before, now = ({(r["seed"], r["arm"]): r["key"] for r in runs} for runs in (figures(done)["runs"], results))
    assert {place for place in now if now[place] != before[place]} == {(0, "sftkey"), (7, "sftkey")}
    assert len(list(out.glob("runs/sums/seed-0/sftkey-*"))) == 2


def test_a_changed_stage_1_changes_every_run_that_starts_from_it(tmp_path: Path) -> None:
    study = tables(tmp_path / "out")
    study["stage2"] |= {"lr": 1e-3}
    data = make_sets(load_study(write(tmp_path / "study.toml", study)), tmp_path / "sets")

    def keys() -> dict[tuple[int, str], str]:
        opened = open_study(write(tmp_path / "study.toml", study))
        return {(run.seed, run.arm.name): run.key for run in plan_runs(opened.study, opened.arms, data)}

    before = keys()
    study["stage1"]["lr"] = 1e-3
    assert not set(before.values()) & set(keys().values())


def test_arms_that_differ_in_name_only_have_the_same_figures(tmp_path: Path) -> None:
    study = tables(tmp_path / "out") | {
        "seeds": {"claim": [0]},
        "arms": {"continued": {}, "twin": {"like": "continued"}},
    }
    _, one, other = finished(write(tmp_path / "study.toml", study))
    assert one["scores"] == other["scores"]
    assert one["weights"] == other["weights"]


def test_one_arm_of_one_seed_brings_the_stage_1_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for module in (run_module, runner_module):
        monkeypatch.setattr(module, "say", said.append)
    path = write(tmp_path / "study.toml", tables(tmp_path / "out"))
    results = finished(path, only=["sftkey"], seeds="0:1")
    assert [(r["seed"], r["arm"]) for r in results] == [(0, "stage1"), (0, "sftkey")]
    record = figures(tmp_path / "out")
    assert (record["num_runs"], record["num_finished"]) == (6, 2)
    assert said == ["sums seed 0 stage1: finished", "sums seed 0 sftkey: finished"]


@pytest.mark.slow
def test_every_named_arm_runs(tmp_path: Path) -> None:
    named = [name for name, arm in NAMED_ARMS.items() if arm.keep is None]  # the others: test_own_words.py
    study = tables(tmp_path / "out") | {"seeds": {"claim": [0]}, "arms": {name: {} for name in named}}
    study |= {"keep_models": False, "evaluation": {"max_new_tokens": 2}}
    results = {r["arm"]: r for r in finished(write(tmp_path / "study.toml", study))}
    assert set(results) == {"stage1", *named}
    assert results["key_tag"]["inputs"]["start"] is None
    assert results["key_tag"]["steps"] == 6
    assert {r["steps"] for name, r in results.items() if name not in ("stage1", "key_tag")} == {4}
    weights = [json.dumps(r["weights"]) for r in results.values()]
    assert len(set(weights)) == len(weights)
    (first,) = tmp_path.glob("out/runs/sums/seed-0/*/training/*/final/model.safetensors")
    assert first.parents[1].name == "stage1"
    assert load_file(first)


def test_what_a_kill_left_of_finished_runs_is_deleted_by_the_next_start(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    for run in ("stage1", "sftkey"):
        checkpoint = folder_of(out, only(done, seed=0, arm=run)) / "training" / run / "checkpoint-2"
        checkpoint.mkdir()
        (checkpoint / "origin.json").touch()
    path = write(tmp_path / "study.toml", tables(out))
    finished(path)
    models = {path.parent.name for path in out.glob("runs/sums/*/*/training/*/*")}
    assert models == {"stage1", "continued", "sftkey"}
    assert not list(out.glob("runs/**/checkpoint-*"))
    finished(write(path, tables(out) | {"keep_models": False}))
    assert {path.parents[1].name for path in out.glob("runs/**/*.safetensors")} == {"stage1"}
    assert figures(out)["runs"] == figures(done)["runs"]


def test_a_result_that_was_changed_is_refused(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    folder = folder_of(out, only(done, seed=0, arm="sftkey"))
    (folder / "test.jsonl.gz").write_bytes(b"")
    with pytest.raises(SFTKeyError, match=r"test\.jsonl\.gz is not as it was written; delete"):
        finished(write(tmp_path / "study.toml", tables(out)))


def test_a_run_begun_under_another_name_says_what_to_delete(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    folder = folder_of(out, only(done, seed=0, arm="sftkey"))
    (folder / "result.json").unlink()
    with pytest.raises(SFTKeyError, match=rf"^{folder} was begun under another name.*recipe\.name was .*; delete the"):
        finished(write(tmp_path / "study.toml", tables(out) | {"name": "renamed"}))


def test_a_flipped_bit_in_what_a_study_has_written(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "out")
    study = load_study(write(tmp_path / "study.toml", tables(out)))
    runs = plan_runs(study, study_arms(study, "study"), make_sets(study, out / "sets"))
    run = next(run for run in runs if (run.folder / "result.json").exists())
    assert refused_or_same(run.folder / "result.json", lambda: read_result(run), 60) == 60
    kept = (run.folder / "result.json").read_bytes()
    for broken in (b"", kept[:300], b"[]"):
        (run.folder / "result.json").write_bytes(broken)
        with pytest.raises(SFTKeyError, match=r"result\.json is not as it was written; delete .* to run it again$"):
            read_result(run)
    (run.folder / "result.json").write_bytes(kept)
    assert refused_or_same(out / "study.json", lambda: figures(out), 60) == 60
    assert refused_or_same(out / "study.json", lambda: pickle.dumps(read_results(out / "study.json")), 60) == 60
    (run.folder / "result.json").write_text(json.dumps(read_result(run)))  # as a version before wrote it
    assert read_result(run) == only(done, seed=run.seed, arm=run.arm.name) | {"seconds": read_result(run)["seconds"]}
    write_sealed(
        run.folder / "missing.json", dict.fromkeys(("dataset", "role", "arm", "key", "why"), "x") | {"seed": 3}
    )
    assert refused_or_same(run.folder / "missing.json", lambda: read_missing(run), 60) == 60


def test_a_study_that_runs_is_not_run_twice(done: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "study.toml", tables(done))
    with another_process(done), pytest.raises(SFTKeyError, match=f"{done}: another process is writing it"):
        finished(path)
    finished(path)
