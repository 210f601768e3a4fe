"""The contract of every dataset: a fixture and golden parts exist, the template writes them and reads them back."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.extract import Reject
from sftkey_data.registry import Dataset, builtin_names, load_dataset, parse_options
from sftkey_data.template import BUILTIN

FIXTURES = Path(__file__).parent / "fixtures"
GOLDEN = Path(__file__).parent / "golden"
every_dataset = pytest.mark.parametrize("name", builtin_names())


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(dataset: Dataset, num: int) -> Iterator[Any]:
    if dataset.generate is not None:
        return islice(dataset.generate(parse_options(dataset, {}), "train"), num)
    return iter(read(FIXTURES / f"{dataset.name}.jsonl"))


@every_dataset
def test_the_extractor_gives_the_golden_parts(name: str) -> None:
    dataset, golden = load_dataset(name), read(GOLDEN / f"{name}.jsonl")
    found = [dataset.extract(row) for row in rows_of(dataset, len(golden))]
    shown = [
        {"prompt": p.prompt, "cot": p.cot.strip(), "key": p.key.strip(), "answer_type": p.answer_type} for p in found
    ]
    assert len(golden) >= 5
    assert shown == golden


@every_dataset
def test_every_template_writes_the_golden_key_where_its_span_says(name: str) -> None:
    for parts in read(GOLDEN / f"{name}.jsonl"):
        for template in BUILTIN.values():
            completion, spans = template.render(parts["cot"], parts["key"])
            assert completion[spans.key_start : spans.key_end] == parts["key"]
            assert template.parse(completion) == (parts["cot"], parts["key"])


@every_dataset
def test_the_docstring_names_source_and_licence(name: str) -> None:
    dataset = load_dataset(name)
    module = __import__(f"sftkey_data.datasets.{name}", fromlist=["x"])
    assert dataset.description
    assert "Licence:" in module.__doc__


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("gsm8k", {"question": "q", "answer": "no mark"}, "missing_key"),
        ("gsm8k", {"question": "q", "answer": None}, "null_value"),
        ("gsm8k", {"question": "q", "answer": 72}, "wrong_type"),
        ("math", {"problem": "q", "solution": "no box"}, "missing_key"),
        ("math", {"problem": "q", "solution": "open \\boxed{4"}, "missing_key"),
    ],
)
def test_a_row_without_an_answer_is_rejected_under_a_reason(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as raised:
        load_dataset(name).extract(row)
    assert raised.value.reason == reason


def test_gsm8k_keeps_the_key_as_written_and_drops_only_calculator_marks() -> None:
    parts = load_dataset("gsm8k").extract({"question": "q", "answer": "a < b << c is 3 <<1+2=3>>3\n#### 1,234"})
    assert parts.key.strip() == "1,234"
    assert parts.cot.strip() == "a < b << c is 3 3"


@pytest.mark.slow
def test_every_gsm8k_key_is_the_text_after_the_mark(shared_data: Path) -> None:
    for split, number in (("train", 7473), ("test", 1319)):
        rows = read(shared_data / "raw" / "gsm8k" / f"{split}.jsonl")
        assert len(rows) == number
        for row in rows:
            assert load_dataset("gsm8k").extract(row).key.strip() == row["answer"].split("####")[1].strip()


def test_the_last_box_is_the_answer_of_all_math500_rows(shared_data: Path) -> None:
    for row in read(shared_data / "raw" / "math" / "math500.jsonl"):
        assert load_dataset("math").extract(row).key == row["answer"]
