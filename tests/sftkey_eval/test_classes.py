import pytest

from sftkey_data.extract import AnswerType
from sftkey_data.template import BUILTIN
from sftkey_eval.classes import find_cot_value
from sftkey_eval.completions import Completion
from sftkey_eval.score import score_completion
from sftkey_eval.verdict import ERROR_CLASSES, Verdict

OPTIONS = ("10", "12", "14")


def score(
    completion: str | None,
    gold: str | None = "12",
    answer_type: AnswerType = "number",
    choices: tuple[str, ...] | None = None,
) -> Verdict:
    row = Completion(
        id="1",
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
    "the slip is in a CoT never closed": ("<Thinking>\n5+7=12\n<Answer>\n13\n</Answer>", "slip"),
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


COT_VALUES: list[tuple[AnswerType, str, tuple[str, ...] | None, str | None]] = [
    ("number", "3 + 4 = 7, so there are 7 apples.", None, "7"),
    ("number", "He pays \\$1,234.50.", None, "\\$1,234.50"),
    ("number", "no value", None, None),
    ("choice", "(A) is too small, so (B).", None, "B"),
    ("choice", "5+7=12", None, None),
    ("choice", "5+7=12", OPTIONS, "B"),
    ("choice", "5+7=12, that is (C)", OPTIONS, "C"),
    ("choice", "(C) seems right, but 5+7=12", OPTIONS, "B"),
    ("choice", "5+7=99", OPTIONS, None),
    ("choice", "5+7=12", ("24/2", "12.0"), None),
    ("choice", "So the sky is dark red.", ("red", "dark red", "blue"), "B"),
    ("choice", "So we have tired.", ("red", "blue"), None),
    ("boolean", "True, but no.", None, "no"),
    ("text", "The answer is Paris.", None, "Paris"),
    ("text", "It is in France.", None, None),
    ("math", "Hence \\boxed{x+1}.", None, "x+1"),
    ("math", "Then $y = \\sqrt{2}$.", None, "\\sqrt{2}"),
    ("math", "Then $y = 3$. In all 4.", None, "4"),
]


@pytest.mark.parametrize(("answer_type", "cot", "choices", "value"), COT_VALUES, ids=[c[1] for c in COT_VALUES])
def test_the_last_value_a_cot_states_is_found(
    answer_type: AnswerType, cot: str, choices: tuple[str, ...] | None, value: str | None
) -> None:
    assert find_cot_value(cot, answer_type, choices) == value
