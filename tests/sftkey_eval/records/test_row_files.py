"""Files of rows in every kind, read alike."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, read_completions, survey_completions
from sftkey_eval.records.row_files import read_row_file
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

ROWS: list[dict[str, Any]] = [
    {"id": "a", "completion": 'he said "4",\nso 4', "gold": "4", "choices": ["3", "4"], "sample": 1},
    {"id": "b", "completion": "né, 5", "gold": "5.25", "choices": ["5.25", "6"], "sample": 0},
]


def written(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"rows.{kind}"
    plain = kind.removesuffix(".gz")
    if plain == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    if plain == "jsonl":
        content = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    elif plain == "json":
        content = json.dumps(ROWS, indent=1)
    else:
        with (tmp_path / "cells").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), dialect="excel-tab" if plain == "tsv" else "excel")
            writer.writeheader()
            # The first list as JSON writes it, the second as pandas does.
            writer.writerows([{**ROWS[0], "choices": json.dumps(ROWS[0]["choices"])}, ROWS[1]])
        content = (tmp_path / "cells").read_bytes().decode()
    path.write_bytes(gzip.compress(content.encode()) if kind.endswith(".gz") else content.encode())
    return path


def completions(path: Path, **fields: Any) -> list[Completion]:
    survey_completions(path, Fields(**fields))
    return list(read_completions(path, Fields(**fields)))


@pytest.mark.parametrize("kind", ["json", "csv", "tsv", "parquet", "jsonl.gz", "json.gz", "csv.gz"])
def test_completions_of_every_kind_of_file_are_those_of_json_lines(tmp_path: Path, kind: str) -> None:
    assert completions(written(tmp_path, kind)) == completions(written(tmp_path, "jsonl"))


def test_verdicts_of_a_table_are_those_of_json_lines(tmp_path: Path) -> None:
    options = ScoreOptions(template="plain", answer_type="number")
    tallies = [score_file(written(tmp_path, kind), tmp_path / "v.parquet", options) for kind in ("jsonl", "parquet")]
    assert tallies[0].to_json() == tallies[1].to_json()


def test_numbers_of_a_parquet_file_are_written_out(tmp_path: Path) -> None:
    table = {"id": [7, 8], "completion": ["x", None], "gold": [145.0, 0.1], "choices": [[1, 2], None]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    first, second = completions(tmp_path / "a.parquet")
    assert (first.id, first.gold, first.choices, second.gold, second.completion) == (
        "7",
        "145",
        ("1", "2"),
        "0.1",
        None,
    )


def test_a_dotted_name_reaches_into_lists_and_objects(tmp_path: Path) -> None:
    body = {"choices": [{"message": {"content": "so 4"}, "finish_reason": "length"}]}
    rows = [
        {"custom_id": "1", "response": {"body": body}, "ref": {"gold": 4.50}},
        {"custom_id": "2", "response": None, "ref": {"gold": "7"}},
    ]
    (tmp_path / "batch.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    first, second = completions(
        tmp_path / "batch.jsonl",
        id="custom_id",
        completion="response.body.choices.0.message.content",
        finish_reason="response.body.choices.0.finish_reason",
        gold="ref.gold",
    )
    assert (first.completion, first.gold, first.finish_reason) == ("so 4", "4.5", "length")
    assert (second.completion, second.gold) == (None, "7")  # a failed request stays in the denominator


def test_a_column_whose_name_has_dots_comes_before_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "gold": "4", "a.b": "column", "a": {"b": "path"}}\n')
    assert completions(tmp_path / "a.jsonl", completion="a.b")[0].completion == "column"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("response.body.choice.0.text", r"missing in response.body .did you mean 'choices'.., found 'choices'"),
        ("response.body.choices.3.text", r"missing in response.body.choices, found a list of 1"),
        ("respons.body", r"did you mean 'response'.*--completion-field names another"),
        ("gold.text", r"missing in gold, found str"),
    ],
)
def test_a_dotted_name_that_leads_nowhere_says_how_far_it_came(tmp_path: Path, field: str, message: str) -> None:
    row = {"id": "1", "gold": "4", "response": {"body": {"choices": [{"text": "x"}]}}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SFTKeyError, match=message):
        completions(tmp_path / "a.jsonl", completion=field)


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "a csv line of other length": ("a.csv", b"id,completion,gold\n1,x,4\n2,y\n", "a.csv line 3: expected one value"),
    "a csv byte that is no UTF-8": ("a.csv", b"id,completion,gold\n1,\xff,4\n", "a.csv line 2: invalid_utf8"),
    "a csv quote left open": ("a.csv", b'id,completion,gold\n1,"x,4\n', "broken csv"),
    "a list with another value": ("a.json", b'[{"id": "1"}, 3]', "a.json row 2: expected a JSON object"),
    "a list cut off": ("a.json", b'[{"id": "1"},\n', "a.json: broken JSON at line 2"),
    "a gzip cut off": ("a.jsonl.gz", gzip.compress(b'{"id": "1"}\n' * 99)[:-9], "not a whole gzip file"),
    "no gzip at all": ("a.jsonl.gz", b'{"id": "1"}\n', "not a whole gzip file"),
    "a Parquet file under another name": ("a.jsonl", b"PAR1\x15", "expected text in UTF-8, found Parquet"),
    "no Parquet file": ("a.parquet", b'{"id": "1"}\n', "not a readable Parquet file"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_row_that_cannot_be_read_is_an_error_with_its_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SFTKeyError, match=message):
        list(read_row_file(tmp_path / name, "completions"))
