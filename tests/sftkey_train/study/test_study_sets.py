"""The sets of a study that are made of a table: three parts of its questions, and a tokenizer of what is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
from studies import tables, write

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_train.study.study_runner import OpenStudy, open_study
from sftkey_train.study.study_sets import SETS, StudyData, make_sets


@pytest.fixture
def opened(tmp_path: Path) -> OpenStudy:
    rows = [{"q": f"What is {n} + 1?", "why": f"One more than {n}.", "a": str(n + 1)} for n in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = "why"\nkey = "a"\nanswer_type = "number"\n')
    study: dict[str, Any] = tables(tmp_path / "out")
    source = {"source": str(tmp_path / "mine.toml"), "input": str(tmp_path / "rows.jsonl")}
    study["datasets"] = {"mine": source | {"shares": {"test": 0.3}, "template": "boxed"}}
    return open_study(write(tmp_path / "study.toml", study))


def made(opened: OpenStudy) -> StudyData:
    return make_sets(opened.study, opened.study.out / SETS)["mine"]


def test_a_table_becomes_three_parts_of_its_questions_with_one_tokenizer(opened: OpenStudy) -> None:
    data = made(opened)
    prompts = {part: set(open_shards(folder)["prompt"].to_pylist()) for part, folder in data.folders.items()}
    assert {part: len(found) for part, found in prompts.items()} == data.num_examples
    assert sum(data.num_examples.values()) == len(set.union(*prompts.values())) == 80
    assert data.num_examples["validation"] < data.num_examples["test"] < data.num_examples["train"]
    manifests = [read_manifest(folder) for folder in data.folders.values()]
    assert {manifest.template.name for manifest in manifests} == {"boxed"}
    assert len({manifest.tokenizer.fingerprint for manifest in manifests if manifest.tokenizer is not None}) == 1
    assert made(opened) == data


def test_a_changed_table_makes_sets_of_its_own(opened: OpenStudy, tmp_path: Path) -> None:
    before = made(opened)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"q": "What is 99 + 1?", "why": "One more than 99.", "a": "100"}\n')
    after = made(opened)
    assert sum(after.num_examples.values()) == 81
    assert after.folders["train"] != before.folders["train"]


def test_rows_that_are_not_there_are_refused_in_one_line(opened: OpenStudy, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(SFTKeyError, match=r"input file not found: .*rows\.jsonl"):
        made(opened)
