"""The sentences of a text, read from its end."""

import random

import pytest

from sftkey_eval.extraction import stated_values

PIECES = [
    "x = 5", "\n", "\n\n", ". ", "? ", "! ", "; ", ":", "- ", "2) ", "**", "Step 3: ", "<<3+4=7>>", "(since a = b)",
    "(since a\n= b)", "The answer is", " 7", " ", "is 3.5", "{", "}", "\r\n", "½",
]  # fmt: skip


def _texts(num: int) -> list[str]:
    numbers = random.Random(11)
    return ["".join(numbers.choices(PIECES, k=numbers.randint(1, 25))) for _ in range(num)]


def test_sentences_are_the_same_however_many_lines_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _texts(3_000)
    monkeypatch.setattr(stated_values, "_FIRST_LINES", 1_000_000)
    whole = [list(stated_values.sentences(text)) for text in texts]
    monkeypatch.setattr(stated_values, "_FIRST_LINES", 1)
    assert [list(stated_values.sentences(text)) for text in texts] == whole
    assert sum(map(len, whole)) > 3_000


def test_of_many_lines_only_the_last_ones_are_read_for_the_last_value() -> None:
    blocks = stated_values._from_the_end("a line of text\n" * 100_000 + "x = 5")
    assert len(next(blocks)) < 2_000
    assert "".join([*reversed(list(blocks))]).startswith("a line of text\n")


def test_a_sentence_without_a_value_is_read_once_and_one_with_a_value_each_time_it_is_said() -> None:
    read: list[str] = []

    def value_of(sentence: str) -> str | None:
        read.append(sentence.strip())
        return "7" if "7" in sentence else None

    text = "Let us see.\n" * 500 + "It is 7.\nSo what.\nIt is 7.\n" + "So what.\n" * 500
    assert list(stated_values._stated_values(text, value_of)) == ["7", "7"]
    assert read == ["So what", "It is 7", "It is 7", "Let us see"]
