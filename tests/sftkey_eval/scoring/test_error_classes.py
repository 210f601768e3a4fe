import pytest

from sftkey_data.extract.parts import AnswerType
from sftkey_data.format.template import BUILTIN
from sftkey_eval.answers.decision import Decision
from sftkey_eval.records.completion_rows import Completion
from sftkey_eval.records.verdicts import ERROR_CLASSES, Verdict
from sftkey_eval.scoring.error_classes import classify
from sftkey_eval.scoring.score import score_completion

OPTIONS = ("10", "12", "14")


def score(
    completion: str | None,
    gold: str | None = "12",
    answer_type: AnswerType = "number",
    choices: tuple[str, ...] | None = None,
) -> Verdict:
    row = Completion(
        id="1",
        item_id="1",
        sample=0,
        dataset="",
        split="",
        prompt="",
        completion=completion,
        gold=gold,
        answer_type=answer_type,
        choices=choices,
        finish_reason="stop",
    )
    return score_completion(row, BUILTIN["sftkey"])


def written(cot: str, key: str) -> str:
    return f"<Thinking>\n{cot}\n</Thinking>\n<Answer>\n{key}\n</Answer>"


CLASSES = {
    "the Key is right": (written("5+7=12", "12"), "correct"),
    "only the format is broken": (written("5+7=12", "12") + " Done.", "format"),
    "the tags are missing": ("5+7=12. The answer is 12.", "format"),
    "the CoT is right and the Key is not": (written("5+7=12", "13"), "slip"),
    "the format is broken and the Key slips": (written("5+7=12", "13") + " Done.", "slip"),
    "the Key is in a CoT never closed": ("<Thinking>\n5+7=12\n<Answer>\n13\n</Answer>", "no_answer"),
    "CoT and Key are wrong": (written("5+7=13", "13"), "wrong_cot"),
    "the CoT states no value": (written("let me see", "13"), "wrong_cot"),
    "the completion is empty": ("", "no_answer"),
    "the completion is missing": (None, "no_answer"),
    "the CoT never ends": ("<Thinking>\n5+7=12", "no_answer"),
    "there is no Key": ("<Thinking>\n5+7=12\n</Thinking>", "no_answer"),
}


@pytest.mark.parametrize(("completion", "error_class"), CLASSES.values(), ids=CLASSES.keys())
def test_every_completion_gets_the_class_that_says_where_it_went_wrong(
    completion: str | None, error_class: str
) -> None:
    verdict = score(completion)
    assert verdict.error_class == error_class
    assert verdict.error_class in ERROR_CLASSES
    assert verdict.correct == (error_class == "correct")
    assert verdict.lenient_correct == (error_class in ("correct", "format"))


def test_an_item_without_a_usable_gold_is_unscored_and_never_correct() -> None:
    for gold in (None, "", "Friday"):
        verdict = score(written("5+7=12", "12"), gold)
        assert (verdict.error_class, verdict.verdict, verdict.correct) == ("unscored", "unscored", False)
        assert verdict.format_valid


def test_what_the_grader_cannot_tell_is_a_class_of_its_own() -> None:
    verdict = score(written("hm", "99999999!"), "1", "math")
    assert (verdict.error_class, verdict.verdict, verdict.correct) == ("undecided", "undecided", False)


def test_a_correct_key_after_a_cot_that_ends_elsewhere_is_lucky() -> None:
    assert score(written("5+7=13", "12")).lucky
    assert not score(written("5+7=12", "12")).lucky
    assert not score(written("let me see", "12")).lucky
    assert not score(written("5+7=13", "14")).lucky


def test_a_slip_is_seen_where_the_cot_computes_a_value_and_the_key_is_a_letter() -> None:
    verdict = score(written("5+7=12", "C"), "B", "choice", OPTIONS)
    assert (verdict.cot_value, verdict.error_class) == ("B", "slip")
    assert score(written("5+7=14", "C"), "B", "choice", OPTIONS).error_class == "wrong_cot"
    assert score(written("5+7=14", "B"), "B", "choice", OPTIONS).lucky


LUCK: list[tuple[AnswerType, str, str, bool]] = [
    ("number", "She pays 20 - 14.99 = 5.01 in change.", "5", True),
    ("number", "x = 2.\nTo check, 2^3 * 3^2 = 8 * 9 = 72. So it is right.", "2", False),
    ("number", "x = 2.\nThen 2 * 36 = 72.", "2", True),
    ("math", "The roots are \\(x = -2, 1, 6\\). The largest of them is", "6", False),
    ("math", "Thus \\(n = 1\\).", "-2, 1", False),
    ("math", "Thus \\(n = 1\\).", "-2", True),
]


@pytest.mark.parametrize(("answer_type", "cot", "key", "lucky"), LUCK, ids=[case[1] for case in LUCK])
def test_luck_is_a_cot_that_never_got_to_the_key(answer_type: AnswerType, cot: str, key: str, lucky: bool) -> None:
    verdict = score(written(cot, key), key, answer_type)
    assert (verdict.error_class, verdict.lucky) == ("correct", lucky)


def test_the_value_of_the_cot_is_judged_only_where_the_class_depends_on_it() -> None:
    def never() -> Decision:
        raise AssertionError("asked")

    right, wrong = Decision("correct", "number"), Decision("wrong", "number")
    assert classify(wrong, right, never, format_valid=False, has_candidate=True) == ("format", False)
    assert classify(wrong, wrong, never, format_valid=False, has_candidate=False) == ("no_answer", False)
    assert classify(right, right, lambda: wrong, format_valid=True, has_candidate=True) == ("correct", True)
    assert classify(wrong, wrong, lambda: right, format_valid=True, has_candidate=True) == ("slip", False)
