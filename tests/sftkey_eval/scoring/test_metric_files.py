"""A user's own metrics, from a Python file to the report."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from eval_samples import RIGHT, SLIP, WRONG, call, write_run

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import VERDICT_COLUMNS
from sftkey_eval.report.report import report

FILE = '''"""How long answers are."""

from statistics import fmean


def _half(number):
    return number / 2


def words(verdict):
    """Words of the completion.

    All of them.
    """
    return len((verdict.completion or "").split())


def says_43(verdict):
    return "43" in verdict.completion if verdict.id != "sums/test/0" else None
'''


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [{"completion": text} for text in (RIGHT, SLIP, WRONG)]) / "completions.jsonl"


def own(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def scored(completions: Path, out: Path, *files: Path) -> Path:
    done = call("score", completions, "--out", out, "--workers", "1", *(f"--metric={file}" for file in files))
    if done.exception:
        raise done.exception
    return out


def test_every_public_function_is_a_column_and_nothing_is_written_beside_the_file(
    completions: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    file = own(tmp_path / "own", FILE)
    verdicts, provenance = read_verdicts(scored(completions, tmp_path / "v.parquet", file))
    assert [verdict.metrics for verdict in verdicts] == [(10.0, None), (10.0, 0.0), (10.0, 1.0)]
    digest = hashlib.sha256(FILE.encode()).hexdigest()
    assert provenance["metrics"] == [
        {"name": "words", "description": "Words of the completion.", "file": str(file), "sha256": digest},
        {"name": "says_43", "description": "", "file": str(file), "sha256": digest},
    ]
    import pyarrow.parquet as pq

    columns = pq.read_table(tmp_path / "v.parquet").to_pydict()
    assert list(columns) == [*VERDICT_COLUMNS, "words", "says_43"]
    assert columns["words"] == [10.0] * 3
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["mine.py"]


def test_a_changed_metric_is_a_changed_file(completions: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = scored(completions, tmp_path / "v.parquet", own(tmp_path, FILE))
    sealed = pq.read_metadata(out).metadata
    table = pq.read_table(out)
    table = table.set_column(table.column_names.index("words"), "words", [[12.0, 10.0, 10.0]])
    with pq.ParquetWriter(out, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"sftkey_digest": sealed[b"sftkey_digest"]})
    with pytest.raises(SFTKeyError, match="changed since it was written"):
        read_verdicts(out)


def test_a_report_has_means_with_intervals_and_groups_and_runs_without_the_metric(
    completions: Path, tmp_path: Path
) -> None:
    text = FILE.replace('len((verdict.completion or "").split())', "int(verdict.id[-1]) * 2 + 1")
    one = scored(completions, tmp_path / "v.parquet", own(tmp_path, text))
    plain = scored(completions, tmp_path / "plain.parquet")
    report([str(one), str(plain)], tmp_path / "report")
    with (tmp_path / "report" / "tables" / "metrics.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["words"], first["words_n"], first["says_43_k"], first["says_43_n"]) == ("3.0", "3", "1", "2")
    # of 1, 3 and 5: 3 ± t(0.975, 2) · 2 / √3
    assert (float(first["words_low"]), float(first["words_high"])) == pytest.approx((3 - 4.9683, 3 + 4.9683), abs=1e-4)
    assert (second["words"], second["says_43_n"]) == ("", "0")
    made = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [metric["name"] for metric in made["metrics"]] == ["words", "says_43"]
    assert set(made["metrics"][0]["values"]) == {"v", "plain"}
    assert "placed" not in json.dumps(made["breakdowns"])
    for page in ("report.html", "report.md"):
        said = (tmp_path / "report" / page).read_text()
        assert "words: Words of the completion.; says" in said.replace("\\", "")
        assert "3 (-1.968 – 7.968; n" in said


def test_groups_are_those_of_the_accuracy(tmp_path: Path) -> None:
    rows = [{"completion": RIGHT, "answer_type": kind} for kind in ("number", "number", "text")]
    run = write_run(tmp_path / "run", rows)
    file = own(tmp_path, "def last(verdict):\n    return int(verdict.id[-1])\n")
    out = scored(run / "completions.jsonl", tmp_path / "v.parquet", file)
    report([str(out)], tmp_path / "report")
    with (tmp_path / "report" / "tables" / "metrics_by_answer_type.csv").open() as table:
        found = [(row["answer_type"], row["run"], row["last"], row["last_n"]) for row in csv.DictReader(table)]
    assert found == [("number", "v", "0.5", "2"), ("text", "v", "2.0", "1")]


def test_samples_of_an_item_count_as_one(tmp_path: Path) -> None:
    rows = [
        {"id": f"{item}#{n}", "item_id": item, "sample": n, "completion": RIGHT}
        for item, num in (("a", 3), ("b", 1))
        for n in range(num)
    ]
    run = write_run(tmp_path / "run", rows)
    file = own(tmp_path, "def ten(verdict):\n    return 10 if verdict.item_id == 'a' else 20\n")
    out = scored(run / "completions.jsonl", tmp_path / "v.parquet", file)
    report([str(out)], tmp_path / "report")
    made = json.loads((tmp_path / "report" / "report.json").read_text())["metrics"][0]["values"]["v"]
    assert (made["value"], made["n"]) == (15.0, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def a(verdict)\n", r"mine\.py line 1: SyntaxError: expected ':'"),
        ("import os\n\nx = 1 / 0\n", r"mine\.py line 3: ZeroDivisionError: division by zero"),
        ("raise SystemExit('no')\n", r"mine\.py line 1: SystemExit: no"),
        ("from statistics import fmean\n", r"mine\.py: no metric, expected a function that takes a verdict"),
        ("def correct(verdict):\n    return 1\n", r"metric 'correct' has the name of a column"),
        (
            "def a(verdict):\n    return b(verdict)\n\ndef _c(v):\n    return v.nothing\n\nb = _c\n",
            r"mine\.py line 5: a of 'sums/test/0': AttributeError: 'Verdict' object has no attribute 'nothing'",
        ),
        ("\ndef a(verdict):\n    return 'x'\n", r"mine\.py line 2: a of 'sums/test/0' gave 'x', expected a finite"),
        ("def a(verdict):\n    return float('nan')\n", r"line 1: a of 'sums/test/0' gave nan, expected a finite"),
        ("def a(verdict):\n    return '1'\n", r"gave '1', expected a finite number"),
        ("def a():\n    return 1\n", r"mine\.py: a of 'sums/test/0': TypeError: a\(\) takes 0 positional"),
    ],
)
def test_a_fault_of_the_file_is_one_line_with_its_place(
    text: str, expected: str, completions: Path, tmp_path: Path
) -> None:
    with pytest.raises(SFTKeyError, match=expected) as caught:
        scored(completions, tmp_path / "v.parquet", own(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "v.parquet").exists()


def test_a_missing_file_and_a_repeated_name_are_refused(completions: Path, tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"none\.py cannot be read"):
        scored(completions, tmp_path / "v.parquet", tmp_path / "none.py")
    files = [own(tmp_path, "def a(verdict):\n    return 1\n", name) for name in ("one.py", "two.py")]
    with pytest.raises(SFTKeyError, match=r"two\.py: metric 'a' is in .*one\.py too"):
        scored(completions, tmp_path / "v.parquet", *files)


def test_numbers_of_numpy_are_numbers(completions: Path, tmp_path: Path) -> None:
    file = own(tmp_path, "import numpy as np\n\ndef a(verdict):\n    return np.bool_(True)\n")
    verdicts, _ = read_verdicts(scored(completions, tmp_path / "v.parquet", file))
    assert {verdict.metrics for verdict in verdicts} == {(1.0,)}
