"""Multiple choice and truth values as the datasets share them, and what each dataset refuses."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.datasets._facts import join_facts, truth_key
from sftkey_data.extract import Reject
from sftkey_data.extract.multiple_choice import choice_index, choice_key, labelled_choices, list_options
from sftkey_data.registry import bind, load_dataset, parse_options

FIXTURES = Path(__file__).parents[1] / "fixtures"


def first_row(name: str, **changes: Any) -> dict[str, Any]:
    """The first row of a fixture with some of its values replaced."""
    return json.loads((FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[0]) | changes


def parts_of(name: str, row: dict[str, Any], **options: str) -> Any:
    dataset = load_dataset(name)
    return bind(dataset, parse_options(dataset, options)).extract(row)


def test_options_stand_one_per_line_below_the_question() -> None:
    assert list_options(" Which? ", ["red", " green\n tea ", "blue"]) == "Which?\nA. red\nB. green tea\nC. blue"


def test_a_key_is_the_letter_or_the_line_of_the_option() -> None:
    texts = ["red", "green\ntea"]
    assert choice_key(1, texts, "letter") == "B"
    assert choice_key(1, texts, "letter_and_text") == "B. green tea"
    assert choice_key(1, texts, "letter_and_text") in list_options("Which?", texts).split("\n")


@pytest.mark.parametrize("index", [-1, 2])
def test_an_answer_that_is_no_option_is_rejected(index: int) -> None:
    with pytest.raises(Reject, match="wrong_choice"):
        choice_key(index, ["red", "green"], "letter")


@pytest.mark.parametrize("texts", [["only one"], [], ["red", " "], ["x"] * 27], ids=["one", "none", "blank", "27"])
def test_options_that_cannot_be_listed_are_rejected(texts: list[str]) -> None:
    with pytest.raises(Reject, match="wrong_choices"):
        list_options("Which?", texts)


def test_labels_may_be_letters_or_digits_in_any_case() -> None:
    assert choice_index(" b ", ["A", "B"]) == 1
    assert choice_index("2", ["1", "2"]) == 1
    with pytest.raises(Reject, match="wrong_choice"):
        choice_index("", ["A", "B"])


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (["red", "blue"], "wrong_type"),
        ({"text": ["red", None], "label": ["A", "B"]}, "wrong_type"),
        ({"text": ["red", "blue"]}, "wrong_type"),
        ({"text": ["red", "blue"], "label": ["A"]}, "wrong_choices"),
    ],
)
def test_a_choices_column_of_another_shape_is_rejected(choices: Any, reason: str) -> None:
    with pytest.raises(Reject) as raised:
        labelled_choices({"choices": choices})
    assert raised.value.reason == reason


def test_facts_become_sentences() -> None:
    assert join_facts(["bees fly ", "", 'It says "no."', "Why?"]) == 'bees fly. It says "no." Why?'
    with pytest.raises(Reject, match="missing_cot"):
        join_facts(["", " "])


@pytest.mark.parametrize(("value", "key"), [(True, "yes"), (False, "no"), (" True", "yes"), ("no", "no")])
def test_a_truth_value_is_yes_or_no(value: object, key: str) -> None:
    assert truth_key(value, "answer") == key


@pytest.mark.parametrize("value", [1, None, "perhaps", ""])
def test_anything_else_is_no_truth_value(value: object) -> None:
    with pytest.raises(Reject, match="wrong_type"):
        truth_key(value, "answer")


@pytest.mark.parametrize(
    "name", ["openbookqa", "qasc", "arc", "aqua_rat", "commonsenseqa", "sensemaking", "scienceqa", "medmcqa", "mathqa"]
)
def test_letter_and_text_is_the_listed_line_of_the_letter(name: str) -> None:
    for line in (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        letter, both = (parts_of(name, json.loads(line), key=key) for key in ("letter", "letter_and_text"))
        assert both.key.startswith(f"{letter.key}. ")
        assert both.key in both.prompt.split("\n")
        assert both.key == f"{letter.key}. {both.choices['ABCDEFGH'.index(letter.key)]}"


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("openbookqa", {"answerKey": "E"}, "wrong_choice"),
        ("openbookqa", {"fact1": " "}, "missing_cot"),
        ("qasc", {"answerKey": ""}, "wrong_choice"),
        ("qasc", {"fact2": None}, "null_value"),
        ("aqua_rat", {"options": ["A)1", "C)2"]}, "wrong_choices"),
        ("aqua_rat", {"options": "A)1, B)2"}, "wrong_type"),
        ("aqua_rat", {"options": ["A)1", "B)"]}, "wrong_choices"),
        ("aqua_rat", {"correct": "F"}, "wrong_choice"),
        ("commonsenseqa", {"q_ans": "moon"}, "wrong_choice"),
        ("commonsenseqa", {"q_op1": "stand"}, "wrong_choice"),
        ("commonsenseqa", {"taskB": None}, "null_value"),
        ("strategyqa", {"facts": []}, "missing_cot"),
        ("strategyqa", {"facts": "one text"}, "wrong_type"),
        ("strategyqa", {"answer": 1}, "wrong_type"),
        ("creak", {"label": "unknown"}, "wrong_type"),
        ("sensemaking", {"reason": "D"}, "missing_cot"),
        ("sensemaking", {"false": 2}, "wrong_choice"),
        ("sensemaking", {"false": True}, "wrong_choice"),
        ("scienceqa", {"image": {"bytes": None, "path": "image.png"}}, "has_image"),
        ("scienceqa", {"lecture": "", "solution": " "}, "missing_cot"),
        ("scienceqa", {"answer": "1"}, "wrong_type"),
        ("scienceqa", {"answer": True}, "wrong_type"),
        ("scienceqa", {"answer": 0.5}, "wrong_type"),
        ("scienceqa", {"answer": 2}, "wrong_choice"),
        ("medmcqa", {"cop": -1}, "wrong_choice"),
        ("medmcqa", {"cop": True}, "wrong_type"),
        ("medmcqa", {"exp": None}, "missing_cot"),
        ("pubmedqa", {"final_decision": "unclear"}, "missing_key"),
        ("pubmedqa", {"context": {"contexts": ["a", "b"], "labels": ["A"]}}, "wrong_type"),
        ("pubmedqa", {"context": {"contexts": [], "labels": []}}, "wrong_type"),
        ("pubmedqa", {"context": "an abstract"}, "wrong_type"),
    ],
)
def test_a_row_that_cannot_be_used_is_rejected_under_a_reason(name: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as raised:
        parts_of(name, first_row(name, **changes))
    assert raised.value.reason == reason


def test_medmcqa_counts_options_from_zero_unless_told() -> None:
    assert parts_of("medmcqa", first_row("medmcqa", cop=1)).key == "B"
    assert parts_of("medmcqa", first_row("medmcqa", cop=1), first_option="1").key == "A"


@pytest.mark.parametrize("index", [1, 1.0, Decimal("1.00")], ids=str)
def test_an_index_is_the_same_whatever_kind_of_cell_holds_it(index: object) -> None:
    assert parts_of("scienceqa", first_row("scienceqa", choices=[2.0, 0.5], answer=index)).key == "B"
    assert parts_of("scienceqa", first_row("scienceqa", choices=[2.0, 0.5], answer=index)).choices == ("2", "0.5")


def test_scienceqa_may_leave_the_lecture_out() -> None:
    row = first_row("scienceqa", lecture="L.", solution="S.")
    assert parts_of("scienceqa", row).cot == "L.\n\nS."
    assert parts_of("scienceqa", row, cot="solution").cot == "S."


def test_every_aqua_row_of_the_release_can_be_used(shared_data: Path) -> None:
    for split in ("dev", "test"):
        rows = (shared_data / "raw" / "aqua" / f"{split}.json").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 254
        for row in map(json.loads, rows):
            parts = parts_of("aqua_rat", row, key="letter_and_text")
            assert row["options"]["ABCDE".index(row["correct"])].endswith(parts.key[3:])
            assert not any(text.startswith(("A)", "B)")) for text in parts.choices)


def test_every_strategyqa_row_of_the_release_can_be_used(shared_data: Path) -> None:
    rows = json.loads((shared_data / "raw" / "strategyqa" / "dev.json").read_text(encoding="utf-8"))
    keys = [parts_of("strategyqa", row).key for row in rows]
    assert keys == ["yes" if row["answer"] else "no" for row in rows]
    assert len(keys) == 229
