"""What a row holds besides the parts of its example is counted, kept and shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from shard_edits import edit_manifest
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.cli import app
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import LEFT_OUT, file_sha256, read_manifest
from sftkey_data.verify.check import check

OWN_READER = """
from sftkey_data.extract import Parts

COLUMNS = ("question", "answer")


def extract(row):
    cot, _, key = row["answer"].partition("#### ")
    return Parts(row["question"], cot, key if row["weight"] else key + "0")
"""


def rows_file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def gsm8k(number: int, **flags: Any) -> dict[str, Any]:
    return {"question": f"What is {number} + 1?", "answer": f"{number} + 1.\n#### {number + 1}", **flags}


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_a_flag_that_the_reader_does_not_use_is_named_once_with_its_count(tmp_path: Path) -> None:
    rows = [gsm8k(1, weight=1), gsm8k(2, weight=0), gsm8k(3, weight=0, is_correct=False), gsm8k(4, weight=None)]
    out = str(tmp_path / "out")
    said = run("build", "gsm8k", "--input", rows_file(tmp_path, *rows), "--out", out).stderr
    assert said.count("'weight'") == said.count("'is_correct'") == 1
    assert "2 of 4 examples: 'weight' is set, and 'gsm8k' does not use it; the first is gsm8k/train/1" in said
    assert read_manifest(out).statistics["left_out"] == {"flag:is_correct": 1, "flag:weight": 2}
    assert "flag:weight" in run("stats", out).stdout
    assert "left out: flag:weight: 'weight is 0'" in run("show", out, "--id", "gsm8k/train/2").stdout
    assert "left out: " not in run("show", out, "--id", "gsm8k/train/0").stdout
    assert "flag:weight" in run("show", "gsm8k", "--input", rows_file(tmp_path, *rows)).stdout
    assert "| flag:weight | 2 |" in (tmp_path / "out" / "README.md").read_text()
    check(out, full=True)


def test_a_flag_that_a_reader_of_ones_own_looks_at_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_READER)
    source = str(tmp_path / "own.py")
    rows = rows_file(tmp_path, gsm8k(1, weight=0), gsm8k(2, weight=0, label=False))
    manifest = build(BuildConfig(source=source, inputs=(rows,)), tmp_path / "out")
    assert manifest.statistics["left_out"] == {"flag:label": 1}


@pytest.mark.parametrize("source", ["columns", "own.toml"])
def test_readers_of_tables_name_the_columns_that_they_do_not_use(tmp_path: Path, source: str) -> None:
    (tmp_path / "rows.csv").write_text("prompt,cot,key,weight,is_correct,label\nq,c,1,0,yes,a\nr,c,2,1.0,no,b\n")
    (tmp_path / "own.toml").write_text('prompt = "prompt"\ncot = "cot"\nkey = "key"\n')
    name = source if source == "columns" else str(tmp_path / source)
    manifest = build(BuildConfig(source=name, inputs=(str(tmp_path / "rows.csv"),)), tmp_path / "out")
    assert manifest.statistics["left_out"] == {"flag:is_correct": 1, "flag:weight": 1}


def test_a_column_that_a_dataset_names_is_used(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, {"sentence": "Water is dry.", "label": "false", "explanation": "It wets."})
    assert build(BuildConfig(source="creak", inputs=(rows,)), tmp_path / "out").statistics["left_out"] == {}
    assert not (tmp_path / "out" / LEFT_OUT).exists()


def test_a_check_counts_what_was_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(BuildConfig(source="gsm8k", inputs=(rows_file(tmp_path, gsm8k(1, weight=0), gsm8k(2, weight=0)),)), out)
    lines = (out / LEFT_OUT).read_text().splitlines(keepends=True)
    (out / LEFT_OUT).write_text(lines[0])
    with pytest.raises(SFTKeyError, match="hash"):
        check(out)
    digest = file_sha256(out / LEFT_OUT)
    edit_manifest(out, lambda manifest: manifest["files"].update({LEFT_OUT: digest}))
    with pytest.raises(SFTKeyError, match=r"holds \{'flag:weight': 1\}; the manifest says \{'flag:weight': 2\}"):
        check(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_file_of_what_was_left_out_is_the_same_for_any_number_of_pieces(tmp_path: Path, workers: int) -> None:
    rows = rows_file(tmp_path, *(gsm8k(n, weight=n % 2) for n in range(20)))
    whole = BuildConfig(source="gsm8k", inputs=(rows,))
    cut = BuildConfig(source="gsm8k", inputs=(rows,), shard_rows=3)
    build(whole, tmp_path / "whole")
    build(cut, tmp_path / "cut", machinery=Machinery(workers=workers))
    assert file_sha256(tmp_path / "cut" / LEFT_OUT) == file_sha256(tmp_path / "whole" / LEFT_OUT)
    statistics = [read_manifest(tmp_path / name).statistics for name in ("whole", "cut")]
    assert statistics[0] == statistics[1]
    assert {path.name for path in (tmp_path / "cut").iterdir() if path.name.startswith("left")} == {LEFT_OUT}


def test_what_is_held_out_has_its_own_file(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, *(gsm8k(n, weight=0) for n in range(40)))
    build(BuildConfig(source="gsm8k", inputs=(rows,), holdout=0.3), tmp_path / "out")
    for name in ("out", "out-holdout"):
        manifest = read_manifest(tmp_path / name)
        assert manifest.counts.written > 0
        assert manifest.statistics["left_out"] == {"flag:weight": manifest.counts.written}
        check(tmp_path / name)
