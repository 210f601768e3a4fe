"""Files of pairs, graded: one line out per line in, the same for any number of workers, faults in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sftkey_data.errors import SFTKeyError
from sftkey_eval.cli import app
from sftkey_eval.policy import Policy
from sftkey_eval.scoring.answer_pairs import grade_file
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import GradeOptions, ScoreOptions

PAIRS: list[dict[str, Any]] = [
    {"id": "a", "gold": "1,234", "predicted": "1234", "answer_type": "number"},
    {"id": "b", "gold": "B", "predicted": "(B)", "answer_type": "choice", "choices": ["red", "blue"]},
    {"id": "c", "gold": "5", "predicted": None, "answer_type": "math"},
    {"id": "d", "gold": "", "predicted": "5", "answer_type": "math"},
    {"id": "e", "gold": 7, "predicted": 7.0, "answer_type": "number"},
    {"id": "f", "gold": "yes", "predicted": False, "answer_type": "boolean"},
]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_line_gets_a_verdict_and_a_rule_in_the_same_order(tmp_path: Path) -> None:
    tally = grade_file(_write(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [pair["id"] for pair in PAIRS]
    assert [line["verdict"] for line in lines] == ["correct", "correct", "wrong", "unscored", "correct", "wrong"]
    assert all(line["rule"] for line in lines)
    assert json.loads(tally.to_json()) == {"n": 6, "correct": 3, "wrong": 2, "undecided": 0, "unscored": 1}


def test_two_workers_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    rows = [{"gold": str(n % 50), "predicted": str(n % 47), "answer_type": "number"} for n in range(1_700)]
    pairs = _write(tmp_path / "pairs.jsonl", rows)
    for workers in (1, 2):
        grade_file(pairs, tmp_path / f"{workers}.jsonl", GradeOptions(workers=workers))
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    expected = ["correct" if row["gold"] == row["predicted"] else "wrong" for row in rows]
    assert [json.loads(line)["verdict"] for line in (tmp_path / "1.jsonl").open()] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"gold": "1", "predicted": "1", "answer_type": "math"}\n{"gold": ', "line 2: broken JSON"),
        (
            '{"gold": "1", "predictd": "1", "answer_type": "math"}',
            "line 1: no column 'predicted' (did you mean 'predictd'?)",
        ),
        ('{"gold": "1", "predicted": "1"}', "line 1: no column 'answer_type'"),
        (
            '{"gold": "1", "predicted": "1", "answer_type": "maths"}',
            "line 1: unknown answer type 'maths' (did you mean 'math'?)",
        ),
        ('{"gold": {}, "predicted": "1", "answer_type": "math"}', "line 1: 'gold' must be a string"),
        ("[1]", "line 1: expected a JSON object"),
        ("\n", "no rows"),
    ],
)
def test_a_fault_is_one_line_and_leaves_no_file(tmp_path: Path, content: str, message: str) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(content)
    with pytest.raises(SFTKeyError) as caught:
        grade_file(pairs, tmp_path / "out.jsonl")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == [pairs]


def test_the_answer_type_of_lines_that_do_not_say_can_be_given(tmp_path: Path) -> None:
    pairs = _write(tmp_path / "pairs.jsonl", [{"gold": "1/2", "predicted": "0.5"}])
    assert grade_file(pairs, tmp_path / "out.jsonl", GradeOptions(answer_type="math")).verdicts["correct"] == 1


def test_the_verb_takes_the_policy_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    pairs = str(_write(tmp_path / "pairs.jsonl", [{"gold": "50", "predicted": "50%", "answer_type": "number"}]))
    out = str(tmp_path / "out.jsonl")
    assert json.loads(CliRunner().invoke(app, ["grade", pairs, "--out", out]).stdout)["correct"] == 1
    strict = CliRunner().invoke(app, ["grade", pairs, "--out", out, "--percent", "strict"])
    assert json.loads(strict.stdout)["wrong"] == 1
    refused = CliRunner().invoke(app, ["grade", pairs, "--out", out, "--percent", "strikt"])
    assert isinstance(refused.exception, SFTKeyError)
    assert "strict" in str(refused.exception)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy(case="kep"), "--case: found 'kep', expected fold or keep (did you mean 'keep'?)"),
        (Policy(rounding=51), "--rounding: found 51, expected 0 to 50 decimal places"),
        (Policy(rounding=-1), "--rounding: found -1, expected 0 to 50 decimal places"),
    ],
    ids=["choice", "many places", "negative"],
)
def test_a_policy_that_cannot_be_is_refused_before_any_file_is_read(
    tmp_path: Path, policy: Policy, message: str
) -> None:
    for refused in (
        lambda: grade_file(tmp_path / "absent", tmp_path / "out", GradeOptions(policy=policy)),
        lambda: score_file(tmp_path / "absent", tmp_path / "out", ScoreOptions(policy=policy)),
    ):
        with pytest.raises(SFTKeyError) as caught:
            refused()
        assert str(caught.value) == message


def test_ctrl_c_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    rows = [{"gold": f"x+{n}", "predicted": f"{n}+x+y", "answer_type": "math"} for n in range(20_000)]
    pairs = _write(tmp_path / "pairs.jsonl", rows)
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "sftkey_eval.cli", "grade", str(pairs), "--out", str(out), "--workers", "2"]
    default = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731 - a shell may ignore it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=default, start_new_session=True)
    for _ in range(600):
        if list(tmp_path.glob(".out.jsonl.*.partial")):
            break
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert list(tmp_path.iterdir()) == [pairs]
