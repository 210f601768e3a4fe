"""150 real completions of MATH problems whose verdict was judged by hand: `fixtures/judged_math500.jsonl`.

Judged is the answer that the completion commits to, against the gold as it stands in the file (some are damaged there),
under the default policy. A completion that was cut counts with the answer it had settled on, if it had.
"""

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

JUDGED = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures" / "judged_math500.jsonl").read_text("utf-8").splitlines()
]
SECOND_GRADER = """
import json, sys
from math_verify import parse, verify
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps(bool(verify(parse(f"${row['gold']}$"), parse(row["completion"])))))
"""


def judged_rows(outputs: Path) -> list[dict[str, Any]]:
    """The completions that were judged, in the order of the fixture."""
    rows = {}
    for name in {case["file"] for case in JUDGED}:
        for line in (outputs / f"{name}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            rows[name, row["id"]] = row | {"id": f"{name}/{row['id']}"}
    return [rows[case["file"], case["id"]] for case in JUDGED]


def test_the_judged_set_is_whole() -> None:
    assert len({(case["file"], case["id"]) for case in JUDGED}) == 150
    assert min(Counter(case["file"] for case in JUDGED).values()) >= 30
    assert all(case["verdict"] in ("correct", "wrong") and case["reason"] for case in JUDGED)


@pytest.mark.slow
def test_our_error_on_the_judged_set_is_below_that_of_math_verify(shared_data: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("math_verify") is None:
        pytest.skip("math-verify is not installed; it is in the extra `eval`")
    rows = judged_rows(shared_data / "outputs")
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "completions.jsonl").write_text(lines, encoding="utf-8")
    score_file(tmp_path / "completions.jsonl", tmp_path / "v.parquet", ScoreOptions(answer_type="math"))
    ours = [verdict.lenient_verdict for verdict in read_verdicts(tmp_path / "v.parquet")[0]]
    command = [sys.executable, "-c", SECOND_GRADER]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=900)
    theirs = ["correct" if line == "true" else "wrong" for line in done.stdout.split()]
    # An undecided verdict is an error too.
    our_errors, their_errors = (
        [
            f"{case['file']} {case['id']}"
            for case, found in zip(JUDGED, verdicts, strict=True)
            if case["verdict"] != found
        ]
        for verdicts in (ours, theirs)
    )
    assert len(our_errors) < len(their_errors), our_errors
