"""`sftkey_eval.score`, `compare`, `load_verdicts`, `rates` and `tables`: the numbers of the verbs as values."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import sftkey_data
import sftkey_eval
from sftkey_eval.analysis.summary import rate
from sftkey_eval.cli import app
from sftkey_eval.records.verdicts import VERDICT_COLUMNS

NUM = 30
ROOT = Path(__file__).resolve().parents[2]


def completion(index: int, *, better: bool) -> str:
    if index % 5 == 0:
        return "no idea"
    right = index % 3 != 0 or better
    return f"One more than {index}. \\boxed{{{index + 1 if right else index}}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs of the same items, the second with more right answers."""
    for name in ("a", "b"):
        rows = [
            {
                "id": f"q{i}",
                "prompt": f"{i} + 1?",
                "completion": completion(i, better=name == "b"),
                "answer": str(i + 1),
            }
            for i in range(NUM)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sftkey_eval.score(
            tmp_path / f"{name}.jsonl",
            tmp_path / name / "verdicts.parquet",
            template="boxed",
            gold_field="answer",
            workers=1,
        )
    return tmp_path


def test_scoring_is_that_of_the_verb_and_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "again.parquet"
    scored = sftkey_eval.score(folder / "a.jsonl", out, template="boxed", gold_field="answer", workers=1)
    assert capsys.readouterr().out == ""
    flags = ["--template", "boxed", "--gold-field", "answer", "--workers", "1", "--out", str(folder / "verb.parquet")]
    done = CliRunner().invoke(app, ["score", str(folder / "a.jsonl"), *flags])
    assert scored.summary == json.loads(done.stdout)
    assert out.read_bytes() == (folder / "verb.parquet").read_bytes()
    assert scored.verdicts().equals(sftkey_eval.load_verdicts(out))


def test_what_was_scored_shows_itself(folder: Path) -> None:
    scored = sftkey_eval.score(
        folder / "a.jsonl", folder / "c.parquet", template="boxed", gold_field="answer", workers=1
    )
    line = (
        f"ScoredFile('{folder}/c.parquet': 30 completions, format rate 80.0%, accuracy 53.3%, lenient accuracy 53.3%)"
    )
    assert repr(scored) == line
    assert "<td>accuracy</td><td>53.3%</td>" in scored._repr_html_()
    assert scored.notices == []


def test_verdicts_of_runs_are_one_table_with_their_labels(folder: Path) -> None:
    verdicts = sftkey_eval.load_verdicts(folder / "a", f"B={folder / 'b'}")
    assert list(verdicts.columns) == ["run", "arm", *VERDICT_COLUMNS]
    assert verdicts.groupby("run").size().to_dict() == {"a": NUM, "B": NUM}
    with pytest.raises(sftkey_data.SFTKeyError, match="no runs given"):
        sftkey_eval.load_verdicts()


def test_rates_of_groups_have_counts_and_the_reports_intervals(folder: Path) -> None:
    verdicts = sftkey_eval.load_verdicts(folder / "a", folder / "b")
    found = sftkey_eval.rates(verdicts)
    assert found.index.name == "run"
    valid = NUM - NUM // 5
    expected = rate(16, NUM)
    row = found.loc["a"]
    assert (row["format_k"], row["strict_k"], row["strict_n"]) == (valid, 16, NUM)
    assert (row["strict"], row["strict_low"], row["strict_high"]) == (expected.value, expected.low, expected.high)
    assert (row["given_format_k"], row["given_format_n"]) == (16, valid)
    headline = sftkey_eval.tables(folder / "a")["headline"]
    assert headline["strict_accuracy_low"][0] == expected.low


def test_verdicts_group_by_any_column_of_the_data(folder: Path) -> None:
    levels = pd.DataFrame({"id": [f"q{i}" for i in range(NUM)], "level": [i % 3 for i in range(NUM)], "gold": "x"})
    verdicts = sftkey_eval.load_verdicts(folder / "a", data=levels)
    assert set(verdicts["gold_data"]) == {"x"}
    found = sftkey_eval.rates(verdicts, by=["level", "format_valid"])
    assert list(found.index.names) == ["level", "format_valid"]
    assert found["strict_n"].sum() == NUM
    assert found.loc[(0, True), "strict_k"] == 0
    assert r"\begin{tabular}" in sftkey_eval.rates(verdicts, "level").to_latex()


def test_the_data_may_be_a_prepared_folder(tmp_path: Path) -> None:
    sftkey_data.build("arithmetic", tmp_path / "data", set={"num": 8}, workers=1)
    examples = sftkey_data.load(tmp_path / "data").to_list()
    lines = [json.dumps({name: row[name] for name in ("id", "completion", "gold")}) + "\n" for row in examples]
    (tmp_path / "c.jsonl").write_text("".join(lines))
    scored = sftkey_eval.score(tmp_path / "c.jsonl", tmp_path / "v.parquet", workers=1)
    verdicts = scored.verdicts(data=tmp_path / "data")
    assert verdicts["completion_data"].tolist() == verdicts["completion"].tolist()
    assert verdicts["key_start"].tolist() == [row["key_start"] for row in examples]


def test_items_that_the_data_lacks_or_repeats_are_named(folder: Path) -> None:
    few = pd.DataFrame({"id": [f"q{i}" for i in range(NUM - 2)]})
    with pytest.raises(sftkey_data.SFTKeyError, match=r"data: 2 of 30 verdicts are of no item in it, as 'q28'"):
        sftkey_eval.load_verdicts(folder / "a", data=few)
    with pytest.raises(sftkey_data.SFTKeyError, match="id 'q0' occurs several times"):
        sftkey_eval.load_verdicts(folder / "a", data=pd.concat([few, few]))
    with pytest.raises(sftkey_data.SFTKeyError, match="no column 'id'"):
        sftkey_eval.load_verdicts(folder / "a", data=few.rename(columns={"id": "item"}))


def test_rates_of_nothing_or_of_no_column_are_refused(folder: Path) -> None:
    verdicts = sftkey_eval.load_verdicts(folder / "a")
    with pytest.raises(sftkey_data.SFTKeyError, match="no verdicts"):
        sftkey_eval.rates(verdicts[:0])
    with pytest.raises(sftkey_data.SFTKeyError, match=r"no column 'answer_typ' \(did you mean 'answer_type'"):
        sftkey_eval.rates(verdicts, "answer_typ")


def test_a_comparison_has_the_numbers_of_the_verb_with_and_without_a_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = sftkey_eval.compare(folder / "a", folder / "b")
    written = sftkey_eval.compare(folder / "a", folder / "b", folder / "report")
    assert capsys.readouterr().out == ""
    assert (compared.out, written.out) == (None, folder / "report")
    assert compared.comparison == written.comparison
    stored = json.loads((folder / "report" / "compare.json").read_text())
    gained = stored["rates"]["strict"]["gained"]
    paired = compared.tables["paired"].set_index("rate")
    assert paired.loc["Strict accuracy", "gained_c"] == gained == 8
    assert repr(compared).startswith("ComparedRuns(b - a: accuracy +26.7 points [")
    assert "<td>Strict accuracy</td>" in compared._repr_html_()


def test_other_templates_are_refused_until_they_are_allowed(folder: Path) -> None:
    sftkey_eval.score(
        folder / "a.jsonl", folder / "c" / "verdicts.parquet", template="plain", gold_field="answer", workers=1
    )
    with pytest.raises(sftkey_data.SFTKeyError, match="different templates"):
        sftkey_eval.compare(folder / "a", folder / "c")
    assert sftkey_eval.compare(folder / "a", folder / "c", allow_different_template=True).comparison.accepted


def test_a_script_without_a_guard_scores_with_several_workers(tmp_path: Path) -> None:
    """Worker processes do not run the script that started them."""
    row = {"completion": "It is one. \\boxed{1}", "gold": "1"}
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(1100)))
    script = f"""
import sys
sys.path[:0] = {[str(ROOT), str(ROOT / "train")]}
import sftkey_eval
print(sftkey_eval.score("c.jsonl", "v.parquet", template="boxed", workers=2).summary["accuracy"])
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr
