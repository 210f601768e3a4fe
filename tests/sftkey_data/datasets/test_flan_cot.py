"""The seven real files of FLAN's chain-of-thought sets, read as a build reads them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sftkey_data.extract import Parts
from sftkey_data.registry import load_dataset
from sftkey_data.sources.source import find_source, read_source

FLAN = load_dataset("flan_cot")
FILES = {
    "aqua": (2728, {"choice"}),
    "creak": (6915, {"boolean"}),
    "ecqa": (7112, {"text"}),
    "gsm8k": (7473, {"number"}),
    "qasc": (1084, {"choice"}),
    "sensemaking": (6070, {"text"}),
    "strategyqa": (2061, {"boolean"}),
}
every_file = pytest.mark.parametrize("name", FILES)


def path_of(shared_data: Path, name: str) -> Path:
    return shared_data / "raw" / "flan_cot" / f"{name}_train.tsv"


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # splitlines would cut at U+2028


def extract_all(path: Path) -> list[Parts]:
    source = replace(find_source(str(path), None), fields=FLAN.fields)
    return [FLAN.extract(record.row) for record in read_source(source)]


@every_file
def test_every_row_of_a_real_file_is_extracted_with_the_files_answer_type(shared_data: Path, name: str) -> None:
    num_rows, answer_types = FILES[name]
    parts = extract_all(path_of(shared_data, name))
    assert len(parts) == num_rows
    assert {found.answer_type for found in parts} == answer_types


@every_file
def test_no_character_of_a_real_file_is_lost(shared_data: Path, name: str) -> None:
    path = path_of(shared_data, name)
    for line, parts in zip(lines_of(path), extract_all(path), strict=True):
        key = f"({parts.key})" if parts.answer_type == "choice" else parts.key
        fields = [field.replace("\\n", "\n").strip() for field in line.split("\t")]
        assert [parts.prompt, key, parts.cot] == fields


@pytest.mark.parametrize(("name", "num_choices"), [("aqua", 5), ("qasc", 8)])
def test_the_options_of_a_real_file_are_the_choices(shared_data: Path, name: str, num_choices: int) -> None:
    parts = extract_all(path_of(shared_data, name))
    assert Counter(len(found.choices or ()) for found in parts) == {num_choices: len(parts)}
    first = parts[0]
    assert first.choices is not None
    assert f"({first.key}) {first.choices['ABCDEFGH'.index(first.key)]}\n" in f"{first.prompt}\n"
