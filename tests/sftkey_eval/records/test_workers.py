"""Scoring over several processes and with a second grader."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.workers import in_order
from sftkey_eval.scoring.score import disagreements_path, score_file
from sftkey_eval.scoring.score_options import ScoreOptions

ROWS_100K = 100_000
PEAK_MIB = 300  # measured: 168
GROWTH_MIB = 50  # measured: 5; what grows are the ids of the check for repeated ones


def _completions(path: Path, num: int) -> Path:
    with path.open("w") as file:
        for n in range(num):
            text = f"We add {n} and 1, step by step. " * 8 + f"\\boxed{{{n + 1 if n % 3 else n}}}"
            file.write(json.dumps({"id": str(n), "completion": text, "gold": str(n + 1), "answer_type": "math"}) + "\n")
    return path


def test_two_workers_score_to_the_same_bytes_as_one(tmp_path: Path) -> None:
    completions = _completions(tmp_path / "completions.jsonl", 1_200)
    for workers in (1, 2):
        score_file(completions, tmp_path / f"{workers}.parquet", ScoreOptions(template="boxed", workers=workers))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    verdicts, _ = read_verdicts(tmp_path / "2.parquet")
    assert [verdict.correct for verdict in verdicts] == [n % 3 > 0 for n in range(1_200)]


def test_fewer_than_one_worker_is_refused() -> None:
    with pytest.raises(SFTKeyError, match="workers is 0, expected 1 to 1024"):
        list(in_order(len, [[1]], 0))


def _process(_: list[int]) -> int:
    return os.getpid()


def test_one_batch_needs_no_other_process_and_no_more_start_than_there_are_batches() -> None:
    assert list(in_order(_process, [[1]], None)) == [os.getpid()]
    assert os.getpid() not in set(in_order(_process, [[1], [2]], 50))


def test_who_does_not_say_gets_one_worker_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def run(job: object, batches: object, workers: int, **_: object) -> list[int]:
        started.append(workers)
        return []

    monkeypatch.setattr("sftkey_eval.records.workers.run_processes", run)
    monkeypatch.setattr("sftkey_eval.records.workers.cores", lambda: 3)
    list(in_order(_process, [[1]] * 9, None))
    list(in_order(_process, [[1]] * 2, None))
    assert started == [3, 2]


def test_the_second_graders_opinion_is_a_column_and_disagreements_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    answers = [("1/3", "0.3333333"), ("2", "2"), ("5", "6"), ("", "7")]
    rows = [
        {"id": str(n), "completion": rf"So \boxed{{{key}}}", "gold": gold, "answer_type": "math"}
        for n, (gold, key) in enumerate(answers)
    ]
    rows.append({"id": "none", "completion": "no box", "gold": "1", "answer_type": "math"})
    rows.append({"id": "loose", "completion": "The answer is 0.3333333.", "gold": "1/3", "answer_type": "math"})
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tally = score_file(path, tmp_path / "v.parquet", ScoreOptions(template="boxed", second_grader="math-verify"))
    verdicts, provenance = read_verdicts(tmp_path / "v.parquet")
    assert [verdict.second_verdict for verdict in verdicts] == ["correct", "correct", "wrong", None, None, "correct"]
    assert [verdict.verdict for verdict in verdicts[:3]] == ["wrong", "correct", "wrong"]
    listed = [json.loads(line) for line in disagreements_path(tmp_path / "v.parquet").read_text().splitlines()]
    assert [(line["id"], line["lenient_verdict"], line["second_verdict"]) for line in listed] == [
        ("0", "wrong", "correct"),
        ("loose", "wrong", "correct"),
    ]
    assert (json.loads(tally.to_json())["second_asked"], json.loads(tally.to_json())["disagreements"]) == (4, 2)
    assert provenance["second_grader"] == "math-verify"


def test_verdicts_of_one_folder_keep_their_disagreements_apart(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    for name, key in (("a", "0.3333333"), ("b", "0.333333333")):
        row = {"id": name, "completion": rf"So \boxed{{{key}}}", "gold": "1/3", "answer_type": "math"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        score_file(
            tmp_path / f"{name}.jsonl",
            tmp_path / f"{name}.parquet",
            ScoreOptions(template="boxed", second_grader="math-verify"),
        )
    listed = {path.name: path.read_text() for path in tmp_path.glob("*disagreements*")}
    assert sorted(listed) == ["a.disagreements.jsonl", "b.disagreements.jsonl"]
    assert json.loads(listed["a.disagreements.jsonl"])["id"] == "a"
    names = [disagreements_path(tmp_path / name).name for name in ("v.parquet", "v.pq", "v.1.parquet")]
    assert names == ["v.disagreements.jsonl", "v.pq.disagreements.jsonl", "v.1.disagreements.jsonl"]


def test_a_grader_that_was_not_asked_says_nothing(tmp_path: Path) -> None:
    tally = score_file(_completions(tmp_path / "c.jsonl", 3), tmp_path / "v.parquet", ScoreOptions(template="boxed"))
    verdicts, _ = read_verdicts(tmp_path / "v.parquet")
    assert {(verdict.second_verdict, verdict.second_rule) for verdict in verdicts} == {(None, None)}
    assert "disagreements" not in tally.to_json()
    assert not disagreements_path(tmp_path / "v.parquet").exists()


def test_an_unknown_second_grader_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    options = ScoreOptions(second_grader="math_verify")
    with pytest.raises(SFTKeyError, match="math-verify"):
        score_file(_completions(tmp_path / "c.jsonl", 3), tmp_path / "v.parquet", options)
    assert not (tmp_path / "v.parquet").exists()


@pytest.mark.slow
def test_100_000_completions_score_in_the_memory_of_20_000(tmp_path: Path) -> None:
    peaks = {num: _peak_mib(_completions(tmp_path / f"{num}.jsonl", num), num) for num in (20_000, ROWS_100K)}
    print(f"peaks of a process and its workers, by rows: {peaks} MiB")  # noqa: T201 - the measurement
    assert peaks[ROWS_100K] < PEAK_MIB
    assert peaks[ROWS_100K] < peaks[20_000] + GROWTH_MIB


def _peak_mib(completions: Path, num: int) -> int:
    """Largest sum of a scoring process and its workers; a page that several share counts once."""
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, "-m", "sftkey_eval.cli", "score", str(completions), "--template", "boxed"]
    out = completions.with_suffix(".parquet")
    process = psutil.Popen([*command, "--out", str(out), "--workers", "2"], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            tree = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_full_info().pss for one in tree))
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(0.2)
    assert json.loads(process.stdout.read())["n"] == num
    return int(peak >> 20)
