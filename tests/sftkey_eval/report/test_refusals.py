"""What `report` and `compare` refuse: an error of one line and nothing written, through the verbs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from eval_samples import RIGHT, WRONG, write_run
from typer.testing import CliRunner

from sftkey_data.errors import SFTKeyError
from sftkey_eval.cli import app
from sftkey_eval.report.report import report


def rows(**changes: Any) -> list[dict[str, Any]]:
    return [{"completion": text} | changes for text in [RIGHT, RIGHT, WRONG]]


def refused(verb: str, *runs: object, out: Path) -> str:
    result = CliRunner().invoke(app, [verb, *map(str, runs), "--out", str(out)])
    assert isinstance(result.exception, SFTKeyError)
    message = str(result.exception)
    assert len(message.strip().splitlines()) == 1
    assert not out.exists()
    return message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gold": "43"}, "gold is '42'"),
        ({"prompt": "another question"}, "--allow-different-prompts"),
        ({"item_id": "another"}, "item_id is"),
        ({"answer_type": "text"}, "answer_type is"),
    ],
)
def test_compare_refuses_other_items(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    one, other = write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows(**changed))
    assert message in refused("compare", one, other, out=tmp_path / "out")


def test_compare_refuses_other_ids(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows()[:2])
    assert "has 1 ids that" in refused("compare", one, other, out=tmp_path / "out")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _rewrite(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        import pyarrow.parquet as pq

        pq.write_table(change(pq.read_table(path)), path)

    return damage


@pytest.mark.parametrize("verb", ["report", "compare"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "not a readable parquet file"),
        (_rewrite(lambda table: table.slice(0, 0)), "no verdicts"),
        (_rewrite(lambda table: table.drop_columns(["correct"])), "column 'correct' is missing"),
        (_rewrite(lambda table: table.take([0, 0, 1])), "occurs 2 times"),
        (_rewrite(lambda table: table.replace_schema_metadata(None)), "no provenance"),
    ],
    ids=["cut off", "empty", "missing column", "repeated id", "no provenance"],
)
def test_a_damaged_run_is_refused(tmp_path: Path, verb: str, damage: Callable[[Path], None], message: str) -> None:
    one, other = write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows())
    damage(other / "verdicts.parquet")
    assert message in refused(verb, one, other, out=tmp_path / "out")


@pytest.mark.parametrize("sample", ["-1", "x", 1.5, True])
def test_score_refuses_a_sample_that_is_no_number(tmp_path: Path, sample: object) -> None:
    row = {"id": "a", "completion": RIGHT, "gold": "42", "sample": sample}
    (tmp_path / "c.jsonl").write_text(json.dumps(row))
    assert "'sample' must be" in refused("score", tmp_path / "c.jsonl", out=tmp_path / "v.parquet")


def test_a_file_made_elsewhere_may_have_no_prompts(tmp_path: Path) -> None:
    verdicts = write_run(tmp_path / "run", rows()) / "verdicts.parquet"
    table = pq.read_table(verdicts)
    at = table.schema.get_field_index("prompt")
    table = table.set_column(at, "prompt", pa.nulls(len(table), pa.string()))
    pq.write_table(table, tmp_path / "none.parquet")  # without our digest
    report([str(tmp_path / "none.parquet")], tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
