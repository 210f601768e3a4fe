"""A table whose columns are named on the command line, and options that name a dataset's columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Reject
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import bind, load_dataset, parse_options

NAMES = {"prompt": "question", "cot": "working", "key": "result"}


def bound(name: str = "columns", **options: Any) -> Any:
    dataset = load_dataset(name)
    return bind(dataset, parse_options(dataset, options))


def table(folder: Path, content: str, name: str = "mine.csv") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("key", "is_odd"),
    [
        *((key, False) for key in ("42", "-1,234.5", "−3", "$5", "5 €", "12 %", "3/4", "½", "1.5e-3", "٤٢", "10:30")),
        *((key, True) for key in ("Answer = 805 apples", "see above", "805 apples", "x=4", "12 + 3", "")),
    ],
)
def test_a_key_of_type_number_that_is_more_than_a_number_is_counted(tmp_path: Path, key: str, is_odd: bool) -> None:
    path = table(tmp_path, json.dumps({"question": "q", "working": "w", "result": key or "x"}), "mine.jsonl")
    options = NAMES | {"answer_type": "number"}
    statistics = build(BuildConfig(source="columns", inputs=(path,), options=options), tmp_path / "out").statistics
    assert statistics["odd_numbers"] == is_odd
    assert statistics["first_odd_number"] == (f"columns/train/0: {key or 'x'!r}" if is_odd else None)


def test_the_named_columns_are_the_parts(tmp_path: Path) -> None:
    path = table(tmp_path, 'question;working;result\n"What; is 1,5 + 1?";add;2,5\nIs it?;so;yes\n')
    build(BuildConfig(source="columns", inputs=(path,), options=NAMES), tmp_path / "out")
    rows = open_shards(tmp_path / "out").to_pylist()
    assert [(row["completion"][row["cot_start"] : row["cot_end"]], row["gold"]) for row in rows] == [
        ("add", "2,5"),
        ("so", "yes"),
    ]
    # a comma between thousands is a number's, this one may as well be a pair's: mathematics compares either
    assert [row["answer_type"] for row in rows] == ["math", "boolean"]
    assert "What; is 1,5 + 1?" in rows[0]["prompt"]


def test_a_missing_column_is_named_with_the_nearest_before_the_first_row(tmp_path: Path) -> None:
    path = table(tmp_path, "question;workings;result\nq;w;r\n")
    config = BuildConfig(source="columns", inputs=(path,), options=NAMES)
    with pytest.raises(SFTKeyError, match=r"column 'working' is missing \(did you mean 'workings'\?\)") as raised:
        build(config, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_the_defaults_are_prompt_cot_and_key() -> None:
    assert bound().columns == ("prompt", "cot", "key")
    assert bound(**NAMES, choices="options").columns == ("question", "working", "result", "options")


def test_options_that_name_columns_replace_those_of_the_module() -> None:
    assert load_dataset("arc").columns == ("question", "choices", "answerKey")
    assert bound("arc", cot="why").columns == ("question", "choices", "answerKey", "why")
    assert bound("openbookqa").columns == load_dataset("openbookqa").columns


def test_arc_without_explanations_fails_before_the_first_row(tmp_path: Path) -> None:
    row = {"id": "1", "question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    path = table(tmp_path, json.dumps(row), "arc.jsonl")
    with pytest.raises(SFTKeyError, match=r"column 'explanation' is missing"):
        build(BuildConfig(source="arc", inputs=(path,)), tmp_path / "out")


def test_a_number_becomes_its_text() -> None:
    parts = bound().extract({"prompt": "q", "cot": "c", "key": 0.5})
    assert (parts.key, parts.answer_type, parts.choices) == ("0.5", "number", None)


def test_the_answer_type_may_be_named_and_choices_given() -> None:
    parts = bound(answer_type="choice", choices="options").extract(
        {"prompt": "q", "cot": "c", "key": "A. red", "options": ["red", "blue"]}
    )
    assert (parts.answer_type, parts.choices) == ("choice", ("red", "blue"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "cot": "c", "key": ["4"]}, "wrong_type"),
        ({"prompt": "q", "cot": None, "key": "4"}, "null_value"),
        ({"prompt": "q", "key": "4"}, "missing_column"),
    ],
)
def test_a_value_that_is_no_text_is_rejected(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as raised:
        bound().extract(row)
    assert raised.value.reason == reason


def test_an_unknown_option_or_type_is_one_line() -> None:
    with pytest.raises(SFTKeyError, match=r"unknown key 'promt' \(did you mean 'prompt'\?\)"):
        bound(promt="question")
    with pytest.raises(SFTKeyError, match="answer_type"):
        bound(answer_type="integer")
