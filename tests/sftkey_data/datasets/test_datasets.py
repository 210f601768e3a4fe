"""The contract of every dataset: a fixture and golden parts exist, the template writes them and reads them back."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from sftkey_data.extract import Reject
from sftkey_data.format.template import BUILTIN
from sftkey_data.registry import Dataset, bind, builtin_names, load_dataset, parse_options

FIXTURES = Path(__file__).parents[1] / "fixtures"
GOLDEN = Path(__file__).parents[1] / "golden"

MATHQA = {"Problem": "q", "Rationale": "r", "options": "a ) 1 , b ) 2", "correct": "a"}
S1K = {"question": "q", "deepseek_thinking_trajectory": "t", "deepseek_attempt": "\\boxed{4}", "deepseek_grade": "Yes"}
THOUGHT = "<|begin_of_thought|>\\boxed{5}<|end_of_thought|>"

GENERATED = {"arithmetic", "completions"}
GENERATED_FROM = {"completions": {"verdicts": str(FIXTURES / "completions.parquet")}}
YOUR_OWN = {"arc", "chat", "columns", "flan_cot"}  # read what `--input` names

every_dataset = pytest.mark.parametrize("name", builtin_names())


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bound(name: str, **options: str) -> Dataset:
    """The dataset with the options given and the defaults of the others."""
    dataset = load_dataset(name)
    return bind(dataset, parse_options(dataset, options))


def docstring(name: str) -> str:
    """What the dataset's file says, on one line."""
    return " ".join((import_module(f"sftkey_data.datasets.{name}").__doc__ or "").split())


def thoughts(answer: str) -> dict[str, Any]:
    """A row of openthoughts."""
    return {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": answer}]}


def rows_of(dataset: Dataset, num: int) -> Iterator[Any]:
    if dataset.generate is not None:
        rows = dataset.generate(parse_options(dataset, GENERATED_FROM.get(dataset.name, {})), "train")
        return islice((row for row in rows if not row.get("left_out")), num)
    return iter(read(FIXTURES / f"{dataset.name}.jsonl"))


@every_dataset
def test_the_extractor_gives_the_golden_parts(name: str) -> None:
    dataset, golden = bound(name), read(GOLDEN / f"{name}.jsonl")
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
def test_a_key_with_options_is_the_letter_under_which_the_prompt_lists_one(name: str) -> None:
    dataset = bound(name)
    for parts in map(dataset.extract, rows_of(dataset, 10)):
        if parts.choices is not None:
            assert parts.answer_type == "choice"
            option = parts.choices[ascii_uppercase.index(parts.key)]
            assert re.search(rf"^(- )?\(?{parts.key}[.)] {re.escape(option)}$", parts.prompt, re.MULTILINE)


def test_every_fixture_and_golden_file_belongs_to_a_dataset() -> None:
    generated = {name for name in builtin_names() if load_dataset(name).generate is not None}
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(builtin_names()) - generated
    assert {path.stem for path in GOLDEN.glob("*.jsonl")} == set(builtin_names())


@every_dataset
def test_the_docstring_has_a_schema_a_source_and_a_licence(name: str) -> None:
    assert load_dataset(name).description.endswith(".")
    for heading in ("Schema", "Source", "Licence"):
        assert re.search(rf"\b{heading}( \([^)]*\))?: \S", docstring(name)), heading


@every_dataset
def test_the_default_input_is_a_hub_id_or_url_that_the_docstring_names(name: str) -> None:
    found = load_dataset(name).default_input
    if name in YOUR_OWN | GENERATED:
        assert found is None
        return
    assert found is not None
    if found.startswith("https://"):
        assert found.rpartition("/")[2] in docstring(name)
        return
    repository, _, subset = found.partition(":")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
    assert f"hub id {repository}" in docstring(name)
    assert not subset or f"`{subset}`" in docstring(name)


@every_dataset
def test_the_docstring_names_the_rejects_by_design(name: str) -> None:
    for reason in load_dataset(name).expected_rejects:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", reason)
        assert f"`{reason}`" in docstring(name)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("gsm8k", {"question": "q", "answer": "no mark"}, "missing_key"),
        ("gsm8k", {"question": "q", "answer": None}, "null_value"),
        ("gsm8k", {"question": "q", "answer": 72}, "wrong_type"),
        ("math", {"problem": "q", "solution": "no box"}, "missing_key"),
        ("math", {"problem": "q", "solution": "open \\boxed{4"}, "missing_key"),
        ("math500", {"problem": "q", "solution": "s", "answer": None}, "null_value"),
        ("gsm8k_socratic", {"question": "q", "answer": "What? ** That."}, "missing_key"),
        ("openr1_math", {"problem": "q", "answer": "proof", "generations": ["<think>x</think>"]}, "missing_key"),
        ("openr1_math", {"problem": "q", "answer": "1", "generations": "<think>x</think>"}, "wrong_type"),
        ("openr1_math", {"problem": "q", "answer": "1", "generations": ["<think>x</think>"]}, "no_correct_generation"),
        (
            "openr1_math",
            {"problem": "q", "answer": "1", "generations": ["<think>x</think>"], "correctness_llama": 5},
            "wrong_type",
        ),
        ("cot_collection", {"source": "q", "target": None, "rationale": "r"}, "null_value"),
        ("numinamath_cot", {"problem": "q", "solution": "By induction."}, "missing_key"),
        ("metamathqa", {"query": "q", "response": "It is 4."}, "missing_key"),
        ("openmathinstruct2", {"problem": "q", "generated_solution": "s", "expected_answer": 4}, "wrong_type"),
        ("openthoughts", {"conversations": "text"}, "wrong_type"),
        ("openthoughts", {"conversations": [{"from": "user", "value": "q"}]}, "unexpected_turns"),
        ("openthoughts", thoughts("<|begin_of_solution|>\\boxed{4}<|end_of_solution|>"), "missing_cot"),
        ("openthoughts", thoughts("<|begin_of_thought|>t<|begin_of_solution|>4<|end_of_solution|>"), "missing_cot"),
        ("openthoughts", thoughts("<|begin_of_thought|>t<|end_of_thought|>\\boxed{4}"), "missing_solution"),
        ("openthoughts", thoughts(f"{THOUGHT}<|begin_of_solution|>print(4)<|end_of_solution|>"), "missing_key"),
        ("svamp", {"Body": "b", "Question": "q", "Equation": " ", "Answer": "1"}, "missing_cot"),
        ("svamp", {"Body": "b", "Question": "q", "Equation": "1", "Answer": " "}, "missing_key"),
        ("svamp", {"Body": "b", "Question": "q", "Equation": "1", "Answer": True}, "wrong_type"),
        ("asdiv", {"body": "b", "question": "q", "answer": "1 (cup)", "formula": ""}, "missing_cot"),
        ("asdiv", {"body": "b", "question": "q", "answer": "(cups)", "formula": "1=1"}, "missing_key"),
        ("mathqa", {**MATHQA, "correct": "f"}, "missing_key"),
        ("mathqa", {**MATHQA, "correct": ""}, "missing_key"),
        ("mathqa", {**MATHQA, "options": "['1', '2']"}, "bad_options"),
        ("mathqa", {**MATHQA, "options": "['a ) 1', 'c ) 2']"}, "bad_options"),
        ("mathqa", {**MATHQA, "options": "['a ) 1', 2]"}, "bad_options"),
        ("mathqa", {**MATHQA, "options": "['a ) 1', 'b ) 2'"}, "bad_options"),
        ("mathqa", {**MATHQA, "options": "a ) 1 , c ) 2"}, "bad_options"),
        ("mathqa", {**MATHQA, "options": "a ) 1 , b )"}, "bad_options"),
        ("s1k", {**S1K, "deepseek_attempt": "Shown above."}, "missing_key"),
        ("s1k", {**S1K, "deepseek_grade": "No"}, "graded_wrong"),
        ("orca_math", {"question": "q", "answer": "She has 4.\nSo she has four."}, "missing_key"),
        ("orca_math", {"question": "q", "answer": "It is the 13th of x^2."}, "missing_key"),
        ("orca_math", {"question": "q", "answer": "So 3 of the 5 pens are red."}, "ambiguous_key"),
        ("orca_math", {"question": "q", "answer": "So 2 + 1 = 3 of the 5 pens are red."}, "ambiguous_key"),
        ("flan_cot", {"question": "q\\nOptions:\\n(A) x", "answer": "(B)", "rationale": "r"}, "missing_key"),
    ],
)
def test_a_row_without_an_answer_is_rejected_under_a_reason(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as raised:
        bound(name).extract(row)
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
        parts = bound("math").extract(row)
        assert parts.key == row["answer"]
        assert bound("math500").extract(row) == parts


def test_the_cot_is_the_first_generation_that_is_flagged_correct_and_closed() -> None:
    row = {"problem": "q", "answer": "1", "generations": ["<think>a", "<think>b</think>", "<think>c</think>"]}
    by_math = {**row, "correctness_math_verify": [True, False, True], "correctness_llama": [True, True, True]}
    by_llama = {**row, "correctness_math_verify": None, "correctness_llama": [True, True, True]}
    assert bound("openr1_math").extract(by_math).cot == "c"
    assert bound("openr1_math").extract(by_llama).cot == "b"


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("Each pays -$2.50, that is -$2.50.", "-2.50"),
        ("There are 1,000 boxes, so 1000.", "1000"),
        ("The cost is 3/4 of it.", "3/4"),
        ("It takes 12 hours.\n\nSo 3 * 4 = 12.", "12"),
        ("The number is 9, see \\boxed{7}.", "7"),
    ],
)
def test_orca_math_takes_a_number_that_its_last_sentence_states_plainly(answer: str, key: str) -> None:
    assert bound("orca_math").extract({"question": "q", "answer": answer}).key == key


def test_options_widen_what_is_taken() -> None:
    orca = {"question": "q", "answer": "So 3 of the 5 pens are red."}
    assert bound("orca_math", ambiguous="last_number").extract(orca).key == "5"
    assert bound("s1k", graded="any").extract({**S1K, "deepseek_grade": "No"}).key == "4"
    assert bound("mathqa", key="letter_and_text").extract(MATHQA).key != bound("mathqa").extract(MATHQA).key


def test_metamathqa_splits_at_the_last_mark() -> None:
    parts = bound("metamathqa").extract({"query": "q", "response": "The answer is: not 5.\nThe answer is: 4"})
    assert (parts.cot.strip(), parts.key.strip()) == ("The answer is: not 5.", "4")


def test_mathqa_carries_its_option_texts() -> None:
    row = {**MATHQA, "options": "a ) rs . 1,000 , b ) x , a ) above , c ) none"}
    with pytest.raises(Reject, match="bad_options"):  # a second `a )` after a comma could be an option
        bound("mathqa").extract(row)
    parts = bound("mathqa").extract({**row, "options": "a ) rs . 1,000 , b ) x or a ) above , c ) none"})
    assert parts.choices == ("rs . 1,000", "x or a ) above", "none")


@pytest.mark.parametrize("name", ["openr1_math", "openthoughts"])
def test_no_mark_of_the_thoughts_stays_in_the_cot(name: str) -> None:
    for row in rows_of(bound(name), 100):
        parts = bound(name).extract(row)
        assert not re.search(r"</?think>|<\|", parts.cot)
        assert "\\boxed" not in parts.prompt + parts.cot
