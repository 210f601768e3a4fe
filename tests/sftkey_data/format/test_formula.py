"""What is taken for mathematics where no type is named, by the data's side and by the evaluation's."""

import json
from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.format.formula import looks_like_formula
from sftkey_data.prepared.prepared_folder import open_prepared

FORMULAS = [
    *(r"\frac{1}{2}", "$x$", "x^2", "p - q", "-2x", "2k", "(-2,1)", "(3, 4]", "52_8", "1+2i", "3,5,7", "x=5", "|x|"),
]
TEXTS = [
    "ellipse",
    "New York",
    "snake_case",
    "2020-01-05",
    "12:30",
    "3-1",
    "1990–1995",
    "a",
    "北京",
    "3 pm",
    "well-known",
    "",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_known_by_its_markup_or_its_operation(text: str) -> None:
    assert looks_like_formula(text)


@pytest.mark.parametrize("text", TEXTS)
def test_words_letters_dates_and_scores_are_none(text: str) -> None:
    assert not looks_like_formula(text)


def test_a_table_of_ones_own_has_formulas_as_mathematics(tmp_path: Path) -> None:
    keys = ["p-q", "7", "yes", "(C)", "Evelyn", r"\sqrt{2}"]
    rows = [{"prompt": f"Question {i}?", "cot": "so", "key": key} for i, key in enumerate(keys)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), split="train"), tmp_path / "out")
    types = open_prepared(tmp_path / "out").table()["answer_type"].to_pylist()
    assert types == ["math", "number", "boolean", "choice", "text", "math"]
