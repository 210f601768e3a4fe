"""How much a stage 2 on the answer can mend, from the error classes, and where it is said."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from eval_samples import AFTER, RIGHT, SLIP, WRONG, call, completion, write_run

from sftkey_eval.scoring.headroom import MendableErrors

LINES = {
    "slips and format": (
        {"correct": 57, "format": 6, "slip": 20, "wrong_cot": 17},
        "headroom: of 43.0 % errors 60.5 % are slips or format: a stage 2 on the answer can mend at most 26.0 points",
    ),
    "no errors": ({"correct": 1200}, "headroom: none, all 1,200 items are correct"),
    "no slips": (
        {"correct": 3, "wrong_cot": 1},
        "headroom: of 25.0 % errors 0.0 % are slips or format: a stage 2 on the answer can mend nothing",
    ),
    "some cannot be told": (
        {"correct": 4, "slip": 1, "undecided": 2, "no_answer": 1, "unscored": 2},
        "headroom: of 60.0 % errors 16.7 % are slips or format: a stage 2 on the answer can mend at most 10.0 points "
        "(30.0 more are undecided or without an answer)",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_the_headroom_is_what_lies_behind_the_cot(case: str) -> None:
    classes, said = LINES[case]
    assert MendableErrors.of(classes).line() == f"{said}; see docs/choosing.md"


def test_an_unscored_item_is_an_error_that_nothing_mends() -> None:
    assert MendableErrors.of({"correct": 1, "unscored": 1}) == MendableErrors(n=2, errors=1, mendable=0, untold=0)


def test_score_and_the_report_of_one_run_say_it_and_the_report_of_two_has_a_table(tmp_path: Path) -> None:
    texts = [RIGHT] * 2 + [SLIP, AFTER, WRONG, completion("20 + 22", "at least 42")]
    folders = [write_run(tmp_path / name, [{"completion": text} for text in texts]) for name in ("a", "b")]
    command = ["score", folders[0] / "completions.jsonl", "--out", tmp_path / "v.parquet", "--template", "sftkey"]
    done = subprocess.run(
        [sys.executable, "-m", "sftkey_eval.cli", *map(str, command)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["error_classes"]["slip"] == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("headroom")]
    assert line.startswith("headroom: of 66.7 % errors 50.0 % are slips or format: ")
    assert "mend at most 33.3 points (16.7 more are undecided" in line
    assert line in call("report", folders[0], "--out", tmp_path / "one").stderr
    assert "headroom" not in call("report", *folders, "--out", tmp_path / "two").stderr
    assert "Slips or format, of the errors" in (tmp_path / "two" / "report.md").read_text()
    assert "The errors behind the CoT" in (tmp_path / "two" / "report.html").read_text()
