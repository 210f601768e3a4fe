"""Evaluation questions are found in training rows; questions that stand twice are found."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Parts, Row
from sftkey_data.prepare import contamination
from sftkey_data.prepare.contamination import (
    RUN_WORDS,
    EvaluationSets,
    duplicates,
    evaluation_hash,
    load_evaluation_sets,
    normalized_question,
    words,
)
from sftkey_data.registry import Dataset, load_dataset

FIXTURES = Path(__file__).parents[1] / "fixtures"
GSM8K = str(FIXTURES / "gsm8k.jsonl")
TEXT = "Tom has 3 red apples and his sister Ann brings 4 green ones more from the old market in town."


def sets(*items: tuple[str, str]) -> EvaluationSets:
    found = EvaluationSets()
    for number, (question, text) in enumerate(items, start=1):
        found.add(question, text, f"test.jsonl:{number}")
    return found


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is 7?", "  what IS 7 !\n", True),
        ("naïve ﬁne ½", "NAI\u0308VE fine 1⁄2", True),
        ("twenty-five", "twenty five", True),
        ("How many _apples_?", "How many apples?", False),
        ("What is 3 + 4?", "What is 3 - 4?", False),
        ("What is 3+4?", "What is 3 + 4?", True),
        ("What is -5?", "What is 5?", False),
        ("Is x<3?", "Is x > 3?", False),
        ("What is 34?", "What is 3 4?", False),
        ("日本語は？", "日本語は", True),
        ("नमस्ते", "नमस्त", False),
        ("", " ?!", True),
    ],
)
def test_questions_are_the_same_but_for_case_punctuation_and_white_space(one: str, other: str, same: bool) -> None:
    assert (normalized_question(one) == normalized_question(other)) == same
    assert (evaluation_hash(one) == evaluation_hash(other)) == same


def test_a_word_keeps_its_combining_marks() -> None:
    assert words("नमस्ते दुनिया, it's e\u0301te!") == ["नमस्ते", "दुनिया", "it", "s", "éte"]


def test_a_question_hash_is_64_bits_and_the_same_in_another_process() -> None:
    code = f"from sftkey_data.prepare.contamination import evaluation_hash; print(evaluation_hash({TEXT!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == evaluation_hash(TEXT) == int(np.uint64(evaluation_hash(TEXT)))
    assert evaluation_hash("?") == 0


def test_the_same_question_is_found_whatever_its_length() -> None:
    found = sets(("Why?", ""), ("What is 3 + 4?", "It is 7."))
    assert found.match("what is 3+4", "") == "same question as test.jsonl:2"
    assert found.match("What is 3 - 4?", "It is 7.") is None
    assert found.match("What?", "Why?") is None


def test_an_item_without_words_matches_nothing() -> None:
    found = sets(("?", "!"))
    assert (found.num_added, found.match("!", "?")) == (0, None)


@pytest.mark.parametrize("where", ["question", "solution"])
@pytest.mark.parametrize("kind", ["question", "cot"])
def test_a_run_of_13_words_is_found_in_question_and_cot(kind: str, where: str) -> None:
    found = sets(("Other.", "One."), (TEXT, "") if where == "question" else ("Short?", TEXT))
    run = words(TEXT)[2:15]
    for num_before in range(15):
        text = " ".join(["so"] * num_before + run + ["then"])
        question, cot = (text, "") if kind == "question" else ("Q?", text)
        assert found.match(question, cot) == f"shares 13 words with test.jsonl:2: {' '.join(run)!r}"
    shorter = " ".join(["so", *run[1:], "then"])
    assert found.match(shorter, shorter) is None


def test_a_run_does_not_reach_from_the_question_into_the_cot() -> None:
    run = words(TEXT)[:13]
    assert sets((TEXT, "")).match(" ".join(run[:6]), " ".join(run[6:])) is None
    assert sets((" ".join(run[:6]), " ".join(run[6:]))).match("Q?", " ".join(run)) is None


SHORT = st.lists(st.sampled_from("ab"), max_size=40).map(" ".join)


@given(st.lists(SHORT, max_size=3), SHORT)
def test_looking_up_a_block_in_seven_finds_what_looking_everywhere_finds(texts: list[str], cot: str) -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        return {tuple(text.split()[start : start + RUN_WORDS]) for start in range(len(text.split()) - RUN_WORDS + 1)}

    expected = any(runs(text) & runs(cot) for text in texts)
    assert (sets(*(("q?", text) for text in texts)).match("other", cot) is not None) == expected


def test_a_collision_of_hashes_drops_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "_hash", lambda text: 1)
    found = sets((TEXT, ""))
    assert found.match("Q?", " ".join(f"w{i}" for i in range(40))) is None
    assert found.match("Q?", TEXT) is not None


def test_sets_survive_pickling_and_have_a_digest_of_their_content() -> None:
    one, other = sets((TEXT, ""), ("a", "b")), sets(("a", "b"), (TEXT, ""))
    assert pickle.loads(pickle.dumps(one)).match("A!", "") == "same question as test.jsonl:2"
    assert one.digest == other.digest
    assert len({one.digest, sets((TEXT, "")).digest, sets((TEXT, ""), ("c", "b")).digest, sets().digest}) == 4


def test_a_set_of_the_same_form_is_read_by_the_extractor() -> None:
    found = load_evaluation_sets([GSM8K], [load_dataset("gsm8k")])
    row = json.loads(Path(GSM8K).read_text().splitlines()[1])
    assert found.num_added == 5
    assert found.match(row["question"].upper(), "") == f"same question as {GSM8K}:2"
    cot = row["answer"].partition("####")[0]
    assert found.match(cot, "") is None  # a CoT is not a question


def test_a_set_of_another_form_counts_every_text(tmp_path: Path) -> None:
    rows = [
        {
            "problem": "One?",
            "level": 3,
            "messages": [{"role": "user", "content": "Two?"}],
            "choices": {"text": ["Red"]},
        },
        ["Three?"],
    ]
    found = load_evaluation_sets([write(tmp_path / "e.jsonl", rows)], [load_dataset("gsm8k")])
    for question in ("One", "Two", "Red", "Three"):
        assert (found.match(question, "") or "").startswith(f"same question as {tmp_path / 'e.jsonl'}:")
    assert found.match("3", "") is None


def _picky(row: Row) -> Parts:
    return Parts(prompt=row["q"].partition(":")[2], cot=row["nested"]["cot"], key="1")


def test_rows_that_the_extractor_cannot_take_count_with_every_text(tmp_path: Path) -> None:
    dataset = Dataset(name="picky", extract=_picky, columns=("q",))
    path = write(tmp_path / "e.jsonl", [{"q": "Q: Good?", "nested": {"cot": "Yes."}}, {"q": "Q: Bad?"}, {"q": None}])
    found = load_evaluation_sets([path], [dataset])
    assert found.match("good", "") is not None
    assert found.match("bad", "") is None
    assert found.match("q bad", "") == f"same question as {path}:2"


def test_a_headerless_file_is_read_with_the_fields_of_the_dataset(tmp_path: Path) -> None:
    dataset = Dataset(name="picky", extract=_picky, columns=("q", "a"), fields=("q", "a"))
    (tmp_path / "e.tsv").write_text('Why "so?\tBecause.\nHow?\tThus.\n')
    found = load_evaluation_sets([str(tmp_path / "e.tsv")], [dataset])
    assert found.match("why so", "") is not None
    assert found.match("how", "") is not None


@pytest.mark.parametrize("chat", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "chat"])
@pytest.mark.parametrize(
    "system", [None, "You are a careful and patient tutor who explains each step to every student."]
)
def test_a_prepared_folder_gives_its_questions_without_what_stands_around_them(
    tmp_path: Path, shared_data: Path, chat: bool, system: str | None
) -> None:
    rows = [{"question": f"What is {i} plus 1?", "answer": f"It is {i + 1}, no doubt.\n#### {i + 1}"} for i in range(3)]
    path = write(tmp_path / "rows.jsonl", rows)
    tokenizer = str(shared_data / "tokenizers" / "qwen2.5") if chat else None
    values: dict[str, Any] = {"tokenizer": tokenizer, "chat": chat, "system": system}
    build(BuildConfig(source="gsm8k", inputs=(path,), **values), tmp_path / "test")
    found = load_evaluation_sets([str(tmp_path / "test")], [load_dataset("gsm8k")])
    assert found.num_added == 3
    assert found.match("What is 2 plus 1?", "") == f"same question as {tmp_path / 'test'}: gsm8k/train/2"
    assert found.match("Q?", f"You are Qwen, created by Alibaba Cloud. {system}") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", r"--decontaminate .*e\.jsonl: holds no questions"),
        ('{"n": 3}\n', r"--decontaminate .*e\.jsonl: holds no questions"),
        ('{"n": \n', r"e\.jsonl:1: broken_json: Expecting value at character 8"),
    ],
    ids=["empty", "no text", "broken"],
)
def test_a_set_without_questions_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(SFTKeyError, match=says):
        load_evaluation_sets([GSM8K, str(tmp_path / "e.jsonl")], [load_dataset("gsm8k")])


def test_a_missing_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"input file not found: .*gsm8\.jsonl .did you mean 'gsm8k.jsonl'"):
        load_evaluation_sets([str(FIXTURES / "gsm8.jsonl")], [load_dataset("gsm8k")])


def test_of_a_data_set_its_test_split_is_read_unless_another_is_named(tmp_path: Path) -> None:
    for name in ("train", "test", "validation"):
        write(tmp_path / f"{name}.jsonl", [{"question": f"The {name}?", "answer": "a\n#### 1"}])
    for split in (None, "validation"):
        found = load_evaluation_sets([str(tmp_path)], [load_dataset("gsm8k")], split)
        assert found.match("The train", "") is None
        assert found.match(f"The {split or 'test'}", "") is not None


def test_decontaminating_gsm8k_drops_its_own_test_questions_and_little_else(shared_data: Path) -> None:
    folder, dataset = shared_data / "raw" / "gsm8k", load_dataset("gsm8k")
    found = load_evaluation_sets([str(folder / "test.jsonl")], [dataset])
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    shingles = set[str]()
    for line in (folder / "test.jsonl").read_text().splitlines():
        parts = dataset.extract(json.loads(line))
        assert found.match(parts.prompt, "") is not None
        for run in (words(parts.prompt), words(parts.cot)):
            shingles |= {" ".join(run[i : i + RUN_WORDS]) for i in range(len(run) - RUN_WORDS + 1)}
    for row in lines:
        parts = dataset.extract(row)
        runs = (words(parts.prompt), words(parts.cot))
        expected = any(
            " ".join(run[i : i + RUN_WORDS]) in shingles for run in runs for i in range(len(run) - RUN_WORDS + 1)
        )
        assert (found.match(parts.prompt, parts.cot) is not None) == expected


def test_duplicates_keep_the_first_of_each_over_all_pieces() -> None:
    pieces = [np.array(values, np.uint64) for values in ([5, 0, 7, 5], [], [0, 7, 2**64 - 1], [2**64 - 1, 5, 1, 0])]
    found, repeated = duplicates(iter(pieces))
    assert found == 4
    assert [rows.tolist() for rows in repeated] == [[3], [], [1], [0, 1]]
    assert duplicates([]) == (0, [])


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=5))
def test_without_the_duplicates_every_question_stands_once(values: list[list[int]]) -> None:
    num, repeated = duplicates([np.array(piece, np.uint64) for piece in values])
    assert num == sum(map(len, repeated))
    left = [v for piece, rows in zip(values, repeated, strict=True) for i, v in enumerate(piece) if i not in rows]
    counted = [v for v in left if v]
    assert counted == list(dict.fromkeys(v for piece in values for v in piece if v))
    assert left.count(0) == sum(piece.count(0) for piece in values)
