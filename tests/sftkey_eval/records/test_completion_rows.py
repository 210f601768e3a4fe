import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, read_completions, survey_completions

ROW = {"id": "1", "completion": "4", "gold": "4"}


def write(tmp_path: Path, *rows: Any) -> Path:
    """Rows as JSON lines; bytes are written as they are."""
    path = tmp_path / "completions.jsonl"
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read(path: Path, **fields: Any) -> list[Completion]:
    return list(read_completions(path, Fields(**fields)))


def test_a_file_made_elsewhere_is_read_through_its_own_field_names(tmp_path: Path) -> None:
    row = {"doc": 7, "response": "so 4", "target": 4.50, "options": ["3", "4.5"], "question": "2+2?"}
    (got,) = read(write(tmp_path, row), id="doc", completion="response", gold="target", choices="options")
    assert got == Completion(
        id="7",
        item_id="7",
        sample=0,
        dataset="",
        split="",
        prompt="2+2?",
        completion="so 4",
        gold="4.5",
        answer_type=None,
        choices=("3", "4.5"),
        finish_reason=None,
    )


@pytest.mark.parametrize(
    ("gold", "text"),
    [(b"0.10", "0.10"), (b"9" * 6_000, "9" * 6_000), (b"true", "true"), (b'["a", "b"]', "a, b"), (b"null", None)],
    ids=["decimal", "long integer", "boolean", "list", "null"],
)
def test_a_gold_keeps_the_digits_it_was_written_with(tmp_path: Path, gold: bytes, text: str | None) -> None:
    (got,) = read(write(tmp_path, b'{"id": "1", "completion": "x", "gold": ' + gold + b"}"))
    assert got.gold == text


def test_a_missing_value_is_kept_as_missing_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + json.dumps(ROW).encode(), b"", {"id": "2", "completion": None}, b"  ")
    first, second = read(path)
    assert first.completion == "4"
    assert (second.completion, second.gold) == (None, None)
    assert survey_completions(path, Fields()).num_rows == 2


FAULTS: dict[str, tuple[list[Any], str]] = {
    "an empty file": ([], "no rows"),
    "blank lines only": ([b"", b" "], "no rows"),
    "broken JSON": ([ROW, b'{"id": '], "line 2: broken JSON at column"),
    "not an object": ([ROW, b"[1]"], "line 2: expected a JSON object, found a list"),
    "not UTF-8": ([ROW, b'{"id": "\xff"}'], "line 2: not UTF-8 at byte 8"),
    "deep nesting": ([b"[" * 200_000], "line 1: JSON nested too deeply"),
    "a missing column": (
        [{"id": "1", "completions": "4", "gold": "4"}],
        "no column 'completion' .did you mean 'completions'",
    ),
    "a missing gold column": ([{"id": "1", "completion": "4", "answer": "4"}], "no column 'gold'.*--gold-field"),
    "two missing columns": (
        [{"Question": "2?", "Model answer": "4", "Correct": "4"}],
        "no column 'completion' and no 'gold'; found: Question, Model answer, Correct; --completion-field and "
        "--gold-field name others, likely --completion-field 'Model answer' --gold-field Correct$",
    ),
    "the log of a server": (
        [{"id": "1", "response": {"body": {"choices": [{"message": {"content": "4"}}]}}}],
        "likely --completion-field response.body.choices.0.message.content; or --golds FILE, with ids$",
    ),
    "an id after rows without": (
        [{"completion": "4", "gold": "4"}, ROW],
        "line 2: has an 'id', the first row has none",
    ),
    "no id in one row": ([ROW, {"completion": "4", "gold": "4"}], "line 2: no 'id'"),
    "a null id": ([{**ROW, "id": None}], "line 1: 'id' must be a string, found null"),
    "a repeated id": ([ROW, {**ROW, "id": "2"}, ROW], "line 3: id '1' is already in line 1"),
    "an id that repeats as a number": ([ROW, {**ROW, "id": 1}], "line 2: id '1' is already in line 1"),
    "a completion that is a list": ([{**ROW, "completion": ["4"]}], "'completion' must be a string, found a list"),
    "a gold that is an object": ([{**ROW, "gold": {}}], "'gold' must be a string, found an object"),
    "choices that are text": ([{**ROW, "choices": "a b"}], "'choices' must be a list of strings, found a string"),
    "an unknown answer type": ([{**ROW, "answer_type": "numbr"}], "line 1: unknown answer type 'numbr'.*'number'"),
}


@pytest.mark.parametrize(("rows", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_file_that_cannot_be_scored_is_refused_in_one_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(SFTKeyError, match=message) as refused:
        survey_completions(write(tmp_path, *rows), Fields())
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="not found"):
        survey_completions(tmp_path / "absent.jsonl", Fields())


def test_a_named_choices_column_must_exist_and_the_default_one_need_not(tmp_path: Path) -> None:
    path = write(tmp_path, ROW)
    assert survey_completions(path, Fields()).num_rows == 1
    with pytest.raises(SFTKeyError, match="no column 'options'"):
        survey_completions(path, Fields(choices="options"))


def test_rows_without_ids_have_their_numbers_and_the_survey_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, {"completion": "4", "gold": "4"}, b"", {"completion": "5", "gold": "5"})
    assert [row.id for row in read(path)] == ["1", "2"]
    assert survey_completions(path, Fields()).numbered
    assert not survey_completions(write(tmp_path, ROW), Fields()).numbered
    with pytest.raises(SFTKeyError, match=r"no column 'name'.*--id-field names another"):
        survey_completions(path, Fields(id="name"))


def test_the_question_may_have_a_column_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, ROW | {"Question": "2+2?"})
    assert read(path, prompt="Question")[0].prompt == "2+2?"
    with pytest.raises(SFTKeyError, match=r"no column 'Questio'.*--prompt-field"):
        survey_completions(path, Fields(prompt="Questio"))
