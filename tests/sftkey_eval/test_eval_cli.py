"""The program's verbs: one command from a model to a report, parseable stdout, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eval_samples import RIGHT, SLIP, write_run
from typer.testing import CliRunner, Result

from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import require
from sftkey_eval.cli import app, main
from sftkey_eval.policy import Policy
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.score_options import GradeOptions, ScoreOptions

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "lm_eval", "pandas", "pyarrow", "matplotlib", "scipy", "statsmodels", "jinja2"}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, sftkey_eval.cli; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("verb", ["generate", "score", "report", "compare", "run"])
def test_every_verb_has_help(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert "--out" in result.stdout


@pytest.mark.parametrize(
    ("verb", "kind"), [("score", ScoreOptions), ("score", Policy), ("grade", GradeOptions), ("grade", Policy)]
)
def test_every_option_of_scoring_is_a_flag(verb: str, kind: type[Any]) -> None:
    said = CliRunner().invoke(app, [verb, "--help-all"], env={"COLUMNS": "120"}).stdout
    flags = [
        f"--{name.replace('_', '-')} "
        for name in kind.__dataclass_fields__
        if name not in ("fields", "judge", "policy")
    ]
    assert [flag for flag in flags if flag not in said] == []


def test_run_goes_from_a_model_to_a_report_and_again_without_generating(
    tiny_model: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["run", "--model", tiny_model, "--data", prepared, "--out", tmp_path / "run"]
    command += ["--limit", 6, "--max-new-tokens", 8, "--device", "cpu", "--name", "random"]
    first = call(*command)
    assert first.exit_code == 0
    monkeypatch.setattr(sys, "argv", ["sftkey-eval", *map(str, command)])
    with pytest.raises(SystemExit, match="0"):
        main()
    again = capsys.readouterr()
    *_, look, follows = again.err.splitlines()
    assert look == f"look at it: {tmp_path / 'run' / 'report' / 'report.html'}"
    assert follows.startswith("next: sftkey-eval compare OTHER_RUN ")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *(".sftkey", "completions.jsonl", "run.json", "verdicts.parquet", "report"),
    }
    assert (tmp_path / "run" / "report" / "report.html").exists()
    line, repeated = json.loads(first.stdout), json.loads(again.out)
    assert (line["num_new"], repeated["num_new"]) == (6, 0)
    assert line["format"] == repeated["format"] == {"k": 0, "n": 6}
    assert "random" in first.stderr
    assert "Strict accuracy" in first.stderr


def test_run_scores_with_answer_marks_and_refuses_wrong_ones_before_it_generates(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "marks.toml").write_text('[norwegian]\nanswer = ["svaret"]\n')
    (tmp_path / "wrong.toml").write_text("[norwegian]\nanswers = 3\n")
    command = ["run", "--model", tiny_model, "--data", prepared, "--limit", 2, "--max-new-tokens", 4, "--device", "cpu"]
    wrong = call(*command, "--out", tmp_path / "none", "--answer-marks", tmp_path / "wrong.toml")
    assert wrong.exit_code == 1
    assert not (tmp_path / "none").exists()
    assert call(*command, "--out", tmp_path / "run", "--answer-marks", tmp_path / "marks.toml").exit_code == 0
    assert read_verdicts(tmp_path / "run" / "verdicts.parquet")[1]["answer_marks_added"] == {
        "norwegian": {"answer": ["svaret"]}
    }


def test_report_and_compare_print_tables_on_stderr_and_a_line_on_stdout(tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", [{"completion": text} for text in [RIGHT] * 2 + [SLIP] * 10])
    now = write_run(tmp_path / "now", [{"completion": text} for text in [RIGHT] * 12])
    reported = call("report", before, now, "--out", tmp_path / "report")
    compared = call("compare", before, now, "--out", tmp_path / "compare")
    assert json.loads(reported.stdout)["runs"]["now"]["strict"] == {"k": 12, "n": 12}
    assert "now - before" in reported.stderr
    assert "higher" in reported.stderr
    assert json.loads(compared.stdout)["strict"]["gained"] == 10
    assert "a loss of 1 point or more from before to now is not ruled out" in compared.stderr


def test_an_unknown_flag_is_wrong_usage(tmp_path: Path) -> None:
    assert call("report", tmp_path, "--outt", tmp_path).exit_code == 2


def test_a_mistake_is_one_line_on_stderr_and_exit_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sftkey_eval.cli", "report", str(tmp_path / "a"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    expected = f"error: run not found: {tmp_path / 'a'}, expected a run directory or a verdicts file\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_a_missing_extra_names_what_to_install() -> None:
    with pytest.raises(SFTKeyError, match=r'^report needs no_such_module, .*: pip install "sftkey\[eval\]"$'):
        require("report", "eval", "json", "no_such_module")
