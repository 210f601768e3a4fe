"""Files of answer marks: the shipped table, and what a user adds to it."""

from pathlib import Path

import pytest

from sftkey_data.config import load_toml
from sftkey_data.errors import SFTKeyError
from sftkey_eval.extraction.answer_marks import TABLE, answer_marks
from sftkey_eval.extraction.mark_languages import read_languages, shipped_languages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no language, expected a table of answer marks"),
        ("answer = 1", "answer is no table"),
        ("[Norsk]\nanswer = ['fasit']", "in small letters"),
        ("[norsk]\nanwser = ['fasit']", "unknown key 'anwser' \\(did you mean 'answer'\\?\\); known: answer, links"),
        ("[norsk]\nanswer = 'fasit'", "answer: found 'fasit', expected a list such as"),
        ("[norsk]\nanswer = [' fasit']", "found ' fasit', expected a word"),
        ("[norsk]\nanswer = ['']", "found '', expected a word"),
        ("[norsk]\nanswer = ['--']", "found '--', expected a word"),
        ("[norsk]\nspaces = true", "no word"),
        ("[norsk.english]\nore = ['eller']", "found 'ore' \\(did you mean 'or'\\?\\); expected or, and"),
        ("[norsk", "not a readable TOML file"),
    ],
)
def test_a_file_that_holds_no_marks_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(text, encoding="utf-8")
    with pytest.raises(SFTKeyError, match=message) as refused:
        answer_marks(mine)
    assert "\n" not in str(refused.value)
    assert "mine.toml" in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="answer marks file not found"):
        answer_marks(tmp_path / "none.toml")


def test_the_shipped_table_is_as_a_users_file_must_be() -> None:
    tables = load_toml(TABLE, "answer marks")
    assert shipped_languages(tables) == read_languages(tables, str(TABLE))
    assert len(tables) == 24
