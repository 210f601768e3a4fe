"""`map`: what is proposed reads the rows it was made from, and a build takes it as it stands."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.cli import app
from sftkey_data.errors import SFTKeyError
from sftkey_data.mapping.toml_mapping import read_mapping
from sftkey_data.proposal.proposed_mapping import proposal_text, propose

SUM = {"question": "What is 17 + 25?", "working": "17 + 25 = 42.", "result": "Result: 42"}
PICK = {"stem": "Which is even?", "options": ["3", "4"], "why": "4 is 2 times 2."}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a mark in the Key's column": (
        SUM,
        {"prompt": "question", "cot": "working", "key": {"column": "result", "regex": r"Result:\s*(.+)"}},
    ),
    "columns as they are": (
        {"q": "2 + 2?", "steps": "2 and 2 are 4.", "answer": "4", "id": "a"},
        {"prompt": "q", "cot": "steps", "key": "answer", "answer_type": "number"},
    ),
    "camel case": (
        {"theQuestion": "Is it?", "Rationale": "It is so.", "finalAnswer": "yes"},
        {"prompt": "theQuestion", "cot": "Rationale", "key": "finalAnswer", "answer_type": "boolean"},
    ),
    "one column for CoT and Key": (
        {
            "question": "2 + 2?",
            "answer": "2 and 2 are 4.\n#### 4",
        },
        {
            "cot": {"column": "answer", "regex": "(?s)^(.*)####", "take": "first"},
            "key": {"column": "answer", "regex": r"####\s*(.+)", "take": "last"},
        },
    ),
    "a box": (
        {"problem": "2 + 2?", "solution": r"2 and 2 are \boxed{\frac{8}{2}}."},
        {"cot": "solution", "key": {"column": "solution", "boxed": True, "take": "last"}, "answer_type": "math"},
    ),
    "the index of an option": (
        PICK | {"answer": 0},
        {"key": {"column": "answer", "option": "index"}, "choices": {"column": "options"}, "answer_type": "choice"},
    ),
    "the letter of a labelled option": (
        PICK | {"answer": "B", "options": "A. 3\nB. 4"},
        {"key": {"column": "answer", "option": "letter"}, "choices": {"column": "options", "labels": True}},
    ),
    "the text of an option between bars": (
        PICK | {"answer": "4", "options": "two | 4"},
        {"choices": {"column": "options", "separator": "|"}, "answer_type": "choice"},
    ),
    "a column for each option": (
        {"stem": "Which is even?", "A": "3", "B": "4", "C": "", "why": "4 is 2 times 2.", "correct": "B", "E": "x"},
        {"key": {"column": "correct", "option": "letter"}, "choices": {"columns": ["A", "B"]}, "cot": "why"},
    ),
    "options with a word and a number": (
        PICK | {"Option 1": "3", "Option 2": "4", "options": "", "answer": "2", "answer_1": "4"},
        {"key": {"column": "answer", "option": "number"}, "choices": {"columns": ["Option 1", "Option 2"]}},
    ),
    "letters that are no options": (
        {"q": "2 + 2?", "why": "2 and 2 are 4.", "a": "4", "c": "a remark"},
        {"prompt": "q", "key": "a"},
    ),
    "a context and no CoT": (
        {"passage": "Ann has 2.", "question": "How many?", "answer": "2"},
        {"prompt": {"columns": ["passage", "question"], "join": "\n\n"}, "cot": {"missing": "No reason is given."}},
    ),
    "steps in a list inside an object": (
        {"question": "How many?", "reply": {"steps": ["One.", "Two."]}, "gold": "2"},
        {"cot": {"column": "reply.steps", "join": "\n"}, "key": "gold"},
    ),
}


def written(folder: Path, row: dict[str, Any], kind: str = "jsonl", num: int = 3) -> str:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text(f"{json.dumps(row)}\n" * num)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row] * num), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerows([row] * num)
    return str(path)


@pytest.mark.parametrize(("row", "expected"), CASES.values(), ids=CASES)
def test_a_table_is_mapped_and_the_mapping_builds(
    tmp_path: Path, row: dict[str, Any], expected: dict[str, Any]
) -> None:
    rows = written(tmp_path, row)
    proposal = propose(rows)
    assert {name: proposal.mapping[name] for name in expected} == expected
    assert proposal.num_read == proposal.num_rows == 3
    (tmp_path / "mine.toml").write_text(proposal_text(proposal))
    read_mapping(tmp_path / "mine.toml")
    manifest = build(BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(rows,)), tmp_path / "out")
    assert manifest.counts.written == 3


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_mapping(tmp_path: Path, kind: str) -> None:
    assert propose(written(tmp_path, SUM, kind)).mapping == propose(written(tmp_path, SUM)).mapping


def test_what_is_not_read_is_said_with_its_row_and_columns_in_no_part_are_named(tmp_path: Path) -> None:
    rows = [SUM | {"id": n} for n in range(120)]
    rows[7] = SUM | {"id": 7, "result": "none"}
    rows[9] = SUM | {"id": 9, "working": None}
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "broken")
    proposal = propose(str(tmp_path / "rows.jsonl"))
    text = proposal_text(proposal)
    assert (proposal.num_rows, proposal.num_read) == (100, 98)
    assert "# Columns in no part: id\n" in text
    assert "1 regex_no_match, the first in row 8:" in text
    assert "in row 10:" in text
    assert "1 rows have no working" in text


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [{"role": "user", "content": "q"}]}, "'messages' holds the turns of a chat.*build chat"),
        ({"x": "a", "y": "b"}, "no column looks like the prompt; found x, y"),
        ({"question": "Why?", "id": "b"}, "no column looks like the Key; found question, id"),
        ([1, 2], "no row to look at"),
    ],
)
def test_what_cannot_be_mapped_is_one_line(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(SFTKeyError, match=says):
        propose(written(tmp_path, row))


def test_hostile_texts_stay_comments_and_strings(tmp_path: Path) -> None:
    row = {"question\n[x]": "a\n#b\n'''", 'answer "': "key = 1\n'\\", "why '\\d": "x\ny = 2"}
    proposal = propose(written(tmp_path, row))
    (tmp_path / "mine.toml").write_text(proposal_text(proposal))
    assert read_mapping(tmp_path / "mine.toml").prompt.column == "question\n[x]"


def test_the_verb_prints_toml_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["map", written(tmp_path, SUM, "csv")])
    (tmp_path / "mine.toml").write_text(done.stdout)
    assert read_mapping(tmp_path / "mine.toml").key.column == "result"
    assert "3 of 3 rows are read" in done.stderr
