"""Marks of an answer in other languages, and the file with which a user adds some."""

from pathlib import Path

import pytest
from marked_answers import COMMIT_TO_C, COMMIT_TO_NONE, FIVE, NEITHER_FIVE_NOR_SIX, TRUTHS

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import AnswerMarks, answer_marks
from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

FOUR = ("1", "2", "3", "4")


def right(
    answer_type: AnswerType, completion: str, golds: tuple[str, ...], marks: AnswerMarks | None = None
) -> list[str]:
    """The golds for which a completion is right."""
    choices = FOUR if answer_type == "choice" else None
    found = find_candidate(completion, KINDS[answer_type], Choices.of(choices), marks=marks)
    text = found.text if found else None
    return [gold for gold in golds if grade(gold, text, answer_type, choices=choices).verdict == "correct"]


@pytest.mark.parametrize("completion", COMMIT_TO_C)
def test_a_letter_behind_a_mark_of_any_language_is_found(completion: str) -> None:
    assert right("choice", completion, ("A", "B", "C", "D")) == ["C"]


@pytest.mark.parametrize("completion", COMMIT_TO_NONE)
def test_hedges_and_denials_of_any_language_are_understood(completion: str) -> None:
    assert right("choice", completion, ("A", "B", "C", "D")) == []


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize("completion", FIVE)
def test_a_number_behind_a_mark_of_any_language_is_found(completion: str, answer_type: AnswerType) -> None:
    assert right(answer_type, f"9.\n{completion}\n9", ("5", "9")) == ["5"]


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize("completion", NEITHER_FIVE_NOR_SIX)
def test_a_number_that_is_hedged_or_denied_in_any_language_is_not_taken(
    completion: str, answer_type: AnswerType
) -> None:
    assert right(answer_type, completion, ("5", "6")) == []


@pytest.mark.parametrize(("completion", "truth"), TRUTHS, ids=[c[0] for c in TRUTHS])
def test_yes_and_no_of_other_languages_are_read_behind_their_marks(completion: str, truth: str) -> None:
    assert right("boolean", completion, ("yes", "no")) == [truth]


def test_an_answer_in_words_stays_in_its_language() -> None:
    assert right("text", "答案是北京或上海。", ("北京或上海",)) == ["北京或上海"]
    assert right("text", "La réponse est Paris.", ("Paris",)) == ["Paris"]


def test_a_users_file_adds_to_the_table(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[norwegian]\nanswer = ["fasit"]\nlinks = ["er"]\n[norwegian.english]\nor = ["eller"]\n'
        '[english]\nanswer = ["verdict"]\n',
        encoding="utf-8",
    )
    marks = answer_marks(mine)
    for completion in ("Fasit er C. Ikke A.", "The verdict is C. Not A.", "The answer is C. Not A."):
        assert right("choice", completion, ("A", "C"), marks) == ["C"]
    assert right("choice", "Fasit er B eller C.", ("B", "C"), marks) == []
    assert right("number", "Fasit er 5. 9", ("5", "9")) == ["9"]
    assert marks.digest != answer_marks().digest
    assert marks.added is not None
    assert list(marks.added) == ["norwegian", "english"]


SIZE = 300_000
HOSTILE = {
    "nouns": "答案" * (SIZE // 2),
    "links": "答案是" * (SIZE // 3),
    "words": "或和不是" * (SIZE // 4),
    "letters": "选C" * (SIZE // 2),
    "particles": "la respuesta no " * (SIZE // 16),
    "asides": "answer (in cm) " * (SIZE // 15),
    "denials": "not A or " * (SIZE // 9),
    "listed letters": "(A, " * (SIZE // 4),
    "mentions": "(A) x (B) y " * (SIZE // 12),
    "truths": "yes no " * (SIZE // 7),
    "doubts": "no doubt " * (SIZE // 9),
    "backslashes": "\\\\frac" * (SIZE // 6),
    "dollars": "$\\$" * (SIZE // 3),
    "bounds": "at least 7 " * (SIZE // 11),
    "parts": "4 hours 30 minutes " * (SIZE // 19),
    "equations": "x = 2 and " * (SIZE // 10),
}


@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("answer_type", ["number", "math", "choice", "boolean"])
def test_a_hostile_completion_is_read(answer_type: AnswerType, completion: str) -> None:
    found = find_candidate(completion, KINDS[answer_type], Choices.of(FOUR))  # not linear, it would not come back
    assert found is None or found.text
