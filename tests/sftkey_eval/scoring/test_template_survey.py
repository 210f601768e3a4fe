"""What `score` says where the numbers alone would mislead: another template, another program's log, no golds."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_eval.scoring.score_tally import ScoreTally


def scored(tmp_path: Path, completions: list[str], **options: Any) -> ScoreTally:
    rows = [{"id": str(i), "completion": text, "gold": "4"} for i, text in enumerate(completions)]
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return score_file(tmp_path / "c.jsonl", tmp_path / "v.parquet", ScoreOptions(**options))


def test_where_the_template_reads_nothing_those_that_would_are_named_with_their_counts(tmp_path: Path) -> None:
    tally = scored(tmp_path, ["so \\boxed{4}"] * 5 + ["2 + 2. The answer is 4."] * 2 + ["so #### 4"])
    assert tally.readable_by == {"sftkey": 0, "boxed": 5, "plain": 2, "hash": 1}
    assert json.loads(tally.to_json())["readable_by"] == tally.readable_by
    assert tally.notices() == [
        "template sftkey reads 0 of 8 completions; --template names another, which would read: boxed 5, plain 2, hash 1"
    ]


def test_where_it_reads_most_nothing_is_said(tmp_path: Path) -> None:
    tally = scored(tmp_path, ["so \\boxed{4}"] * 5 + ["2 + 2. The answer is 4."] * 4, template="boxed")
    assert (tally.notices(), "readable_by" in tally.to_json()) == ([], False)


def test_where_none_reads_more_that_is_said(tmp_path: Path) -> None:
    assert scored(tmp_path, ["I do not know"]).notices() == [
        "template sftkey reads 0 of 1 completions; no built-in template reads more, "
        "--template FILE says what another format is"
    ]


def test_of_many_completions_the_first_are_looked_at(tmp_path: Path) -> None:
    tally = scored(tmp_path, ["so \\boxed{4}"] * 1_100)
    assert tally.readable_by == {"sftkey": 0, "boxed": 200}
    assert "reads 0 of 1,100 completions" in tally.notices()[0]
    assert "would read of the first 200: boxed 200" in tally.notices()[0]


def test_the_program_says_it_on_stderr_and_keeps_stdout_one_line(tmp_path: Path) -> None:
    rows = [{"id": "1", "completion": "so \\boxed{4}", "gold": "4"}, {"id": "2", "completion": "x", "gold": None}]
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = [sys.executable, "-m", "sftkey_eval.cli", "score", "c.jsonl", "--out", "v.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n"] == 2
    assert "note: template sftkey reads 0 of 2 completions" in done.stderr
    assert "note: 1 of 2 completions are unscored" in done.stderr


def test_a_log_of_another_program_is_for_import(tmp_path: Path) -> None:
    sample = {"doc_id": 0, "doc": {}, "target": "4", "arguments": [["q"]], "resps": [["4"]], "filtered_resps": ["4"]}
    inspect = {"version": 2, "status": "success", "eval": {"task": "t"}, "results": {}, "samples": [{"id": 1}]}
    (tmp_path / "samples_gsm8k.jsonl").write_text(json.dumps(sample) + "\n")
    (tmp_path / "log.json").write_text(json.dumps(inspect, indent=2))
    (tmp_path / "short.json").write_text(json.dumps(inspect))
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("header.json", json.dumps(inspect))
    for name, program in [
        ("samples_gsm8k.jsonl", "lm-eval"),
        ("log.json", "Inspect"),
        ("short.json", "Inspect"),
        ("log.eval", "Inspect"),
    ]:
        with pytest.raises(SFTKeyError, match=f"{name}: a log of {program}'s.*sftkey-eval import .*{name} --out"):
            score_file(tmp_path / name, tmp_path / "v.parquet")


def test_a_log_whose_fields_are_named_is_scored_as_it_is(tmp_path: Path) -> None:
    sample = {"doc_id": 0, "doc": {}, "target": "4", "arguments": [["q"]], "resps": [["2 + 2. The answer is 4."]]}
    (tmp_path / "samples_gsm8k.jsonl").write_text(json.dumps(sample) + "\n")
    fields = ["--id-field", "doc_id", "--completion-field", "resps.0.0", "--gold-field", "target"]
    score = [sys.executable, "-m", "sftkey_eval.cli", "score", "samples_gsm8k.jsonl", "--out", "v.parquet"]
    command = [*score, *fields, "--template", "plain"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["accuracy"] == 1.0
