import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from eval_samples import outcomes_of

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import BUILTIN
from sftkey_eval.analysis.summary import summarize
from sftkey_eval.extraction.answer_marks import answer_marks
from sftkey_eval.policy import Policy
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import ERROR_CLASSES, VERDICT_COLUMNS, Verdict
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_eval.scoring.score_tally import ScoreTally

ROOT = Path(__file__).resolve().parents[3]
RIGHT = "<Thinking>\n2+2=4\n</Thinking>\n<Answer>\n4\n</Answer>"


def score(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real program."""
    command = [sys.executable, "-m", "sftkey_eval.cli", "score", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def scored(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[Verdict]:
    """Verdicts of rows, each given at least an id."""
    named = [{"id": str(i), "gold": "4", "completion": RIGHT} | row for i, row in enumerate(rows)]
    score_file(write(tmp_path / "completions.jsonl", *named), tmp_path / "v.parquet", ScoreOptions(**options))
    return read_verdicts(tmp_path / "v.parquet")[0]


def test_the_program_scores_all_format_conformance_cases(shared_conformance: Path, tmp_path: Path) -> None:
    cases = [json.loads(line) for line in (shared_conformance / "format.jsonl").read_text("utf-8").splitlines()]
    out = tmp_path / "new" / "verdicts.parquet"
    done = score(shared_conformance / "format.jsonl", "--out", out, "--template", "sftkey")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(out).to_pylist()
    assert [row["id"] for row in rows] == [case["id"] for case in cases]
    for row, case in zip(rows, cases, strict=True):
        assert (row["format_valid"], row["predicted"]) == (case["format_valid"], case["predicted"]), case["id"]
        if case["format_error"] or case["format_valid"]:
            assert row["format_error"] == case["format_error"], case["id"]
        else:
            assert row["format_error"], case["id"]
    summary = json.loads(done.stdout)
    assert (summary["n"], summary["format_rate"], summary["accuracy"]) == (20, 6 / 20, 6 / 20)
    assert sum(summary["format_errors"].values()) == 14
    assert sum(summary["error_classes"].values()) == 20


def test_the_program_reads_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"doc": 1, "out": "It is \\boxed{B}", "key": "B", "opts": ["3", "4"]})
    fields = ("--id-field", "doc", "--completion-field", "out", "--gold-field", "key", "--choices-field", "opts")
    done = score(path, "--out", tmp_path / "v.parquet", "--template", "boxed", *fields)
    assert done.returncode == 0, done.stderr
    (verdict,), _ = read_verdicts(tmp_path / "v.parquet")
    assert (verdict.id, verdict.answer_type, verdict.correct, verdict.choices) == ("1", "choice", True, ("3", "4"))


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ('{"id": "1", "completion": "4"', (), "line 1: broken JSON"),
        ('{"id": "1", "completion": "4", "golds": "4"}', (), "no column 'gold' (did you mean 'golds'?)"),
        ('{"id": "1", "completion": "4", "gold": "4"}', ("--template", "sftky"), "did you mean 'sftkey'"),
        ('{"id": "1", "completion": "4", "gold": "4"}', ("--answer-type", "numbers"), "did you mean 'number'"),
        ("", (), "no rows"),
    ],
    ids=["broken JSON", "missing column", "unknown template", "unknown answer type", "empty file"],
)
def test_the_program_refuses_bad_input_in_one_line_and_leaves_nothing(
    tmp_path: Path, line: str, options: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(line, encoding="utf-8")
    done = score(path, "--out", tmp_path / "v.parquet", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.jsonl"]


def test_the_help_says_what_the_verb_takes() -> None:
    done = score("--help")
    assert done.returncode == 0
    assert "--completion-field" in done.stdout


def test_every_row_has_a_verdict_and_stays_in_the_denominator(tmp_path: Path) -> None:
    rows = [{}, {"gold": None}, {"completion": None}, {"completion": "so 4"}, {"completion": "so 5"}]
    named = [{"id": str(i), "gold": "4", "completion": RIGHT} | row for i, row in enumerate(rows)]
    tally = score_file(write(tmp_path / "c.jsonl", *named), tmp_path / "v.parquet")
    summary = json.loads(tally.to_json())
    assert summary["n"] == 5
    assert summary["format_rate"] == 2 / 5
    assert summary["accuracy"] == 1 / 5
    assert summary["lenient_accuracy"] == 2 / 5
    assert summary["unscored"] == 1
    assert summary["format_errors"] == {"empty": 1, "missing_cot": 2}
    expected = dict.fromkeys(ERROR_CLASSES, 0) | {
        "correct": 1,
        "unscored": 1,
        "no_answer": 1,
        "format": 1,
        "wrong_cot": 1,
    }
    assert summary["error_classes"] == expected


def test_the_levels_of_the_format_stand_side_by_side(tmp_path: Path) -> None:
    texts = [RIGHT, f"{RIGHT}\nDone.", RIGHT.lower(), f"{RIGHT}<Answer>5</Answer>", RIGHT[:-9], ""]
    verdicts = scored(tmp_path, *({"completion": text} for text in texts))
    levels = [(v.format_valid, v.format_tolerant, v.format_present) for v in verdicts]
    expected = [(1, 1, 1), (0, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 0), (0, 0, 0)]
    assert levels == [tuple(map(bool, level)) for level in expected]
    tally = ScoreTally()
    for verdict in verdicts:
        tally.add(verdict)
    counts, summary = json.loads(tally.to_json()), summarize(outcomes_of(verdicts))
    for name, k in {"format_rate": 1, "format_rate_tolerant": 3, "format_rate_present": 4}.items():
        assert counts[name] == k / 6
    assert (summary.format.k, summary.format_tolerant.k, summary.format_present.k) == (1, 3, 4)
    assert summary.format_present.n == 6


def test_an_empty_tally_has_no_rates() -> None:
    with pytest.raises(SFTKeyError, match="no rate"):
        ScoreTally().to_json()


def test_a_verdict_holds_the_texts_it_was_made_from(tmp_path: Path) -> None:
    row = {
        "id": "x/1",
        "dataset": "x",
        "split": "test",
        "prompt": "2+2?",
        "finish_reason": "stop",
        "choices": ["3", "4"],
    }
    (verdict,) = scored(tmp_path, row | {"gold": "B", "completion": RIGHT.replace("\n4\n", "\nb\n")})
    assert verdict == Verdict(
        id="x/1",
        item_id="x/1",
        sample=0,
        dataset="x",
        split="test",
        answer_type="choice",
        gold="B",
        format_valid=True,
        format_error=None,
        format_tolerant=True,
        format_present=True,
        predicted="b",
        verdict="correct",
        correct=True,
        rule="option",
        lenient_predicted="b",
        lenient_verdict="correct",
        lenient_correct=True,
        lenient_source="key",
        cot_value="B",
        error_class="correct",
        lucky=False,
        prompt="2+2?",
        completion=RIGHT.replace("\n4\n", "\nb\n"),
        choices=("3", "4"),
        finish_reason="stop",
    )


def test_the_answer_type_is_the_flags_then_the_rows_then_read_off_the_gold(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"answer_type": "text"},
        {"gold": "1,234"},
        {"gold": "B"},
        {"gold": "Paris"},
        {"gold": "4", "choices": ["3", "4"]},
    ]
    assert [v.answer_type for v in scored(tmp_path, *rows)] == ["text", "number", "choice", "text", "choice"]
    assert {v.answer_type for v in scored(tmp_path, *rows, answer_type="math")} == {"math"}


def test_the_template_comes_from_run_json_unless_it_is_named(tmp_path: Path) -> None:
    row = {"completion": "2+2=4\n#### 4"}
    assert not scored(tmp_path, row)[0].format_valid
    (tmp_path / "run.json").write_text(json.dumps({"name": "a", "template": asdict(BUILTIN["hash"])}), encoding="utf-8")
    assert scored(tmp_path, row)[0].format_valid
    assert not scored(tmp_path, row, template="sftkey")[0].format_valid
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SFTKeyError, match="no template recorded"):
        scored(tmp_path, row)


def test_a_run_record_of_other_completions_in_the_folder_is_not_taken_for_theirs(tmp_path: Path) -> None:
    record = {"name": "a", "completions": "a.jsonl", "template": asdict(BUILTIN["hash"])}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    rows = {
        name: write(tmp_path / name, {"id": "1", "gold": "4", "completion": RIGHT}) for name in ("a.jsonl", "b.jsonl")
    }
    refused = score(rows["b.jsonl"], "--out", tmp_path / "b.parquet")
    assert refused.returncode == 1
    assert "run.json tells of 'a.jsonl', not of 'b.jsonl'; name the template of these with --template" in refused.stderr
    assert score(rows["b.jsonl"], "--out", tmp_path / "b.parquet", "--template", "sftkey").returncode == 0
    assert read_verdicts(tmp_path / "b.parquet")[1]["run"] is None
    assert score(rows["a.jsonl"], "--out", tmp_path / "a.parquet").returncode == 0
    assert read_verdicts(tmp_path / "a.parquet")[1]["run"] == record


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    policy = Policy(units="strict")
    (tmp_path / "run.json").write_text(json.dumps({"template": asdict(BUILTIN["hash"])}), encoding="utf-8")
    scored(tmp_path, {}, policy=policy)
    _, provenance = read_verdicts(tmp_path / "v.parquet")
    assert provenance["policy"] == asdict(policy)
    assert provenance["policy_digest"] == policy.digest
    assert provenance["template"] == asdict(BUILTIN["hash"])
    assert provenance["template_digest"] == BUILTIN["hash"].digest
    assert provenance["source"] == "completions.jsonl"
    assert len(provenance["sha256"]) == 64
    assert provenance["run"] == {"template": asdict(BUILTIN["hash"])}
    assert provenance["answer_marks_digest"] == answer_marks().digest
    assert provenance["answer_marks_added"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_marks_of_a_users_file_count_and_are_recorded(tmp_path: Path, workers: int) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[norwegian]\nanswer = ["fasit"]\nlinks = ["er"]\n', encoding="utf-8")
    row = {"completion": "Fasit er 4. Vi tok 3.", "gold": "4", "answer_type": "number"}
    assert [v.lenient_predicted for v in scored(tmp_path, row)] == ["3"]
    verdicts = scored(tmp_path, *([row] * 300), answer_marks=mine, workers=workers)
    assert {v.lenient_predicted for v in verdicts} == {"4"}
    _, provenance = read_verdicts(tmp_path / "v.parquet")
    assert provenance["answer_marks_added"] == {"norwegian": {"answer": ["fasit"], "links": ["er"]}}
    assert provenance["answer_marks_digest"] == answer_marks(mine).digest != answer_marks().digest


def test_a_file_without_marks_is_refused_before_the_first_row(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", {"id": "1", "gold": "4", "completion": RIGHT})
    refused = score(rows, "--out", tmp_path / "a.parquet", "--answer-marks", tmp_path / "none.toml")
    assert refused.returncode == 1
    assert "answer marks file not found" in refused.stderr
    assert not (tmp_path / "a.parquet").exists()


def test_a_truncated_completion_is_told_by_its_finish_reason(tmp_path: Path) -> None:
    cut = {"completion": "<Thinking>\n2+2=4 and"}
    codes = [
        v.format_error for v in scored(tmp_path, cut | {"finish_reason": "length"}, cut | {"finish_reason": "stop"})
    ]
    assert codes == ["truncated", "unclosed_cot"]


def test_many_rows_keep_their_order_over_batches(tmp_path: Path) -> None:
    rows = [{"gold": str(i), "completion": RIGHT.replace("\n4\n", f"\n{i}\n")} for i in range(1_203)]
    verdicts = scored(tmp_path, *rows)
    assert [v.id for v in verdicts] == [str(i) for i in range(1_203)]
    assert all(v.correct for v in verdicts)


def test_a_lone_surrogate_in_a_completion_is_scored_and_stored(tmp_path: Path) -> None:
    (verdict,) = scored(tmp_path, {"completion": RIGHT.replace("2+2", "\ud800")})
    assert verdict.correct
    assert verdict.completion is not None
    assert "?" in verdict.completion


def test_an_existing_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    scored(tmp_path, {})
    before = (tmp_path / "v.parquet").read_bytes()
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(SFTKeyError, match="broken JSON"):
        score_file(tmp_path / "bad.jsonl", tmp_path / "v.parquet")
    assert (tmp_path / "v.parquet").read_bytes() == before


def test_verdicts_are_not_written_over_the_completions_or_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"id": "1", "completion": RIGHT, "gold": "4"})
    with pytest.raises(SFTKeyError, match="replace the completions"):
        score_file(path, path)
    with pytest.raises(SFTKeyError, match="found a folder"):
        score_file(path, tmp_path)


def test_reading_refuses_what_is_no_verdicts_file(tmp_path: Path) -> None:
    scored(tmp_path, {})
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == list(VERDICT_COLUMNS)
    pq.write_table(table.drop_columns(["rule"]), tmp_path / "short.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "bare.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "text.parquet").write_text("no", encoding="utf-8")
    for name, message in {
        "absent": "not found",
        "text": "not a readable parquet file",
        "short": "column 'rule' is missing",
        "bare": "no provenance",
        "empty": "no verdicts",
    }.items():
        with pytest.raises(SFTKeyError, match=message):
            read_verdicts(tmp_path / f"{name}.parquet")


@pytest.mark.parametrize(
    ("gold", "written", "answer_type", "correct"),
    [
        (r"\frac{3}{4}", "0.75", "number", True),
        (r"\frac{\pi}{2}", r"\pi/2", "math", True),
        (r"\frac{\pi}{2}", r"\pi/3", "math", False),
        (r"\text{Evelyn}", "Evelyn", "math", True),
        ("x^2 + 1", "1 + x^2", "math", True),
        ("$p - q$", "p-q", "math", True),
        ("p-q", "p - q", "math", True),
        ("(-2,1)", "(-2, 1)", "math", True),
        ("(-2,1)", "(1, -2)", "math", False),
        ("[-2,7]", r"\left[-2, 7\right]", "math", True),
        ("3,5,7", "3, 5, 7", "math", True),
        ("52_8", "52_{8}", "math", True),
        ("1+2i", "1 - 2i", "math", False),
        ("(C)", "C", "choice", True),
        ("yes", "Yes", "boolean", True),
        ("no", "yes", "boolean", False),
        ("2020-01-05", "2020-01-05", "text", True),
        ("3-1", "2", "text", False),
        ("12:30", "12:30", "text", True),
        ("A-10 Thunderbolt (II)", "a-10 thunderbolt (ii)", "text", True),
        ("北京", "北京", "text", True),
        ("$18", "18", "number", True),
        ("7", "7.0", "number", True),
        ("B", "B", "choice", True),
        ("New York", "new york", "text", True),
        ("snake_case", "snake_case", "text", True),
    ],
)
def test_a_gold_without_a_type_is_graded_by_what_it_looks_like(
    tmp_path: Path, gold: str, written: str, answer_type: str, correct: bool
) -> None:
    completion = f"<Thinking>\nso\n</Thinking>\n<Answer>\n{written}\n</Answer>"
    (verdict,) = scored(tmp_path, {"gold": gold, "completion": completion})
    assert (verdict.answer_type, verdict.correct) == (answer_type, correct)
