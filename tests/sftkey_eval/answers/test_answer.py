"""An answer keeps what was read from it."""

from dataclasses import replace
from fractions import Fraction

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.numbers import Number
from sftkey_eval.grading.ladder import compare_answers
from sftkey_eval.kinds.kind_table import KINDS


def test_a_reader_is_asked_once_for_each_answer() -> None:
    asked: list[str] = []

    def reader(answer: Answer) -> int:
        asked.append(answer.text)
        return len(answer.text)

    one, other = Answer.of(" 12 "), Answer.of("12")
    assert [one.read(reader), one.read(reader), other.read(reader)] == [2, 2, 2]
    assert asked == ["12", "12"]


def test_answers_are_equal_by_what_was_written_whatever_was_read() -> None:
    one, other = Answer.of("$12$"), Answer.of("$12$")
    assert one.number == Number(Fraction(12))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Answer.of("12")


def test_a_gold_is_judged_once_for_all_it_is_compared_with() -> None:
    asked: list[str] = []

    def usable(gold: Answer) -> bool:
        asked.append(gold.text)
        return True

    gold, kind = Answer.of("red"), replace(KINDS["text"], usable=usable)
    assert [compare_answers(gold, Answer.of(text), kind).verdict for text in ("red", "blue", "Red")] == [
        "correct",
        "wrong",
        "correct",
    ]
    assert asked == ["red"]
