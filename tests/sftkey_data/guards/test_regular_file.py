"""No pipe in the place of a file is waited for, and JSON that is nested too deeply is wrong JSON, whoever reads it."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sftkey_data.config import load_toml
from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import read_json_file, regular
from sftkey_data.prepared.manifest import manifest_bytes, parse_manifest
from sftkey_data.prepared.shards import open_shard
from sftkey_eval.generation.model_files import ModelFiles
from sftkey_eval.records.run_record import read_record
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.score import _read_run
from sftkey_train.study.report import study_results
from sftkey_train.study.report.study_results import read_results

READERS: dict[str, Callable[[Path], object]] = {
    "recipe.toml": lambda path: load_toml(path, "recipe"),
    "manifest.json": lambda path: manifest_bytes(path.parent),
    "data-00000.arrow": open_shard,
    "verdicts.parquet": read_verdicts,
    "run.json": read_record,
    "study.json": read_results,
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((SFTKeyError, OSError), match="expected a file, found a pipe"):
        READERS[name](tmp_path / name)


def test_a_pipe_beside_a_model_is_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.json")
    assert ModelFiles("m", tmp_path, "").recipe == {}


def test_what_is_there_or_is_not_is_left_to_who_opens_it(tmp_path: Path) -> None:
    assert [regular(path) for path in (tmp_path, tmp_path / "none")] == [tmp_path, tmp_path / "none"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        regular(tmp_path / "loop").read_bytes()


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.toml", lambda path: load_toml(path, "recipe")),
        ("manifest.json", lambda path: parse_manifest(path.read_bytes(), str(path))),
        ("run.json", lambda path: _read_run(path.with_name("c.jsonl"), "sftkey")),
        ("study.json", read_results),
    ],
)
def test_what_is_nested_too_deeply_is_one_line(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"a = {'[' * 100_000}" if name.endswith(".toml") else DEEP)
    with pytest.raises(SFTKeyError, match=name):
        read(tmp_path / name)
    if not name.endswith(".toml"):
        with pytest.raises(ValueError, match="nested too deeply"):
            read_json_file(tmp_path / name)


def test_a_packed_record_of_a_study_is_read_no_further_than_a_list_may_be_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sftkey_data.sources.row_bounds.MAX_UNPACKED_LIST_BYTES", 1000)
    (tmp_path / "study.json.gz").write_bytes(gzip.compress(json.dumps({"a": "b" * 2000}).encode()))
    with pytest.raises(SFTKeyError, match="unpacks to more than"):
        study_results.read_results(tmp_path / "study.json.gz")
