"""A new answer type: its kind, as its one file would define it, and the one line that registers it."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind, Found
from sftkey_eval.answers.decision import Decision, decide
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.candidates import Candidate, find_candidate
from sftkey_eval.extraction.cot_value import find_cot_value
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS, find_kind
from sftkey_eval.policy import Policy
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.answer_pairs import grade_file
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import GradeOptions, ScoreOptions

_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b|\b(\d{1,2}) (January|February|March) (\d{4})\b")
_MONTHS = ("January", "February", "March")


def _day(answer: Answer) -> date | None:
    found = _DATE.fullmatch(answer.stripped)
    if found is None:
        return None
    if found[1]:
        return date(int(found[1]), int(found[2]), int(found[3]))
    return date(int(found[6]), _MONTHS.index(found[5]) + 1, int(found[4]))


def _is_day(gold: Answer) -> bool:
    return gold.read(_day) is not None


def _same_day(gold: Answer, predicted: Answer, policy: Policy) -> Decision:
    return decide(gold.read(_day) == predicted.read(_day), "date")


def _dates(text: str) -> Iterator[str]:
    return (found.group() for found in reversed(list(_DATE.finditer(text))))


def _last_date(text: str, choices: Choices | None) -> str | None:
    return next(_dates(text), None)


def _find_last(tail: str, choices: Choices | None) -> Found | None:
    last = _last_date(tail, choices)
    return (last, "last_number", tail.rfind(last)) if last else None


DATE = AnswerKind(
    name="date",
    usable=_is_day,
    rules=(_same_day,),
    read_sentence=_last_date,
    find_last=_find_last,
    find_cot_value=_last_date,
    stated_values=_dates,
    none_is_an_answer=False,
)

ROWS = {
    "right": ("<Thinking>\nThirty days on is 2 March 2024.\n</Thinking>\n<Answer>\n2 March 2024\n</Answer>", "correct"),
    "slip": ("<Thinking>\nThirty days on is 2024-03-02.\n</Thinking>\n<Answer>\n2024-03-03\n</Answer>", "slip"),
    "no tags": ("From 1 February 2024 it is 2 March 2024", "format"),
    "a mark": ("The answer is clearly 2024-03-02, not 2024-03-05.", "wrong_cot"),
    "nothing": ("I cannot tell.", "no_answer"),
}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "date", DATE)  # `KINDS["date"] = DATE`, taken back after the test


@pytest.mark.usefixtures("registered")
def test_one_line_registers_an_answer_type_for_grading() -> None:
    assert grade("2024-03-02", "2 March 2024", "date") == Decision("correct", "date")
    assert grade("2024-03-02", "$\\text{3 March 2024}$", "date") == Decision("wrong", "date")
    assert grade("soon", "2 March 2024", "date") == Decision("unscored", "unusable_gold")


@pytest.mark.usefixtures("registered")
def test_its_candidates_and_what_a_cot_states_are_found() -> None:
    kind = find_kind("date")
    found = find_candidate("It was 1 February 2024, so it is 2024-03-02.", kind)
    assert found == Candidate("2024-03-02", "last_number", "It was 1 February 2024, so it is ")
    marked = find_candidate("The answer is 2024-03-02.\nNot 2024-03-05.", kind)
    assert marked is not None
    assert (marked.text, marked.source) == ("2024-03-02", "the_answer_is")
    assert find_cot_value("1 February 2024 and 30 days: 2 March 2024.", kind) == "2 March 2024"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("forced", [None, "date"])
def test_a_file_of_completions_is_scored_with_it(tmp_path: Path, workers: int, forced: str | None) -> None:
    named = {} if forced else {"answer_type": "date"}
    lines = [
        json.dumps({"id": id_, "completion": text, "gold": "2024-03-02"} | named) for id_, (text, _) in ROWS.items()
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    score_file(tmp_path / "c.jsonl", tmp_path / "v.parquet", ScoreOptions(answer_type=forced, workers=workers))
    verdicts = read_verdicts(tmp_path / "v.parquet")[0]
    assert {verdict.id: verdict.error_class for verdict in verdicts} == {id_: name for id_, (_, name) in ROWS.items()}
    assert {verdict.answer_type for verdict in verdicts} == {"date"}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_of_pairs_is_graded_with_it(tmp_path: Path, workers: int) -> None:
    pairs = [("2024-03-02", "2 March 2024"), ("2024-03-02", "2024-03-05"), ("?", "2024-03-05")]
    lines = [json.dumps({"gold": gold, "predicted": said, "answer_type": "date"}) for gold, said in pairs]
    (tmp_path / "p.jsonl").write_text("\n".join(lines), encoding="utf-8")
    tally = grade_file(tmp_path / "p.jsonl", tmp_path / "out.jsonl", GradeOptions(workers=workers))
    assert tally.verdicts == {"correct": 1, "wrong": 1, "unscored": 1}


def test_without_that_line_the_type_is_an_error_everywhere(tmp_path: Path) -> None:
    row = {"id": "1", "completion": "2024-03-02", "gold": "2024-03-02", "predicted": "1", "answer_type": "date"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    unknown = "unknown answer type 'date'.*known: number, math, choice, boolean, text, list"
    with pytest.raises(SFTKeyError, match=f"c.jsonl line 1: {unknown}"):
        score_file(tmp_path / "c.jsonl", tmp_path / "v.parquet")
    with pytest.raises(SFTKeyError, match=f"c.jsonl line 1: {unknown}"):
        grade_file(tmp_path / "c.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(SFTKeyError, match=unknown):
        grade("2024-03-02", "2024-03-02", "date")
