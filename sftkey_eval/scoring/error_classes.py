"""Where an error comes from: the format, the CoT, or the step from the CoT to the Key."""

from collections.abc import Callable

from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision
from sftkey_eval.extraction.cot_value import find_checked_values
from sftkey_eval.extraction.stated_values import is_several
from sftkey_eval.records.verdicts import ErrorClass


def classify(
    key: Decision,
    lenient: Decision,
    judge_cot: Callable[[], Decision | None],
    *,
    format_valid: bool,
    has_candidate: bool,
) -> tuple[ErrorClass, bool]:
    """The error class of a scored completion, and whether a correct one was lucky.

    Args:
        key: Verdict on the Key of the strict parse.
        lenient: Verdict on the best candidate; for a valid format the same as `key`.
        judge_cot: Gives the verdict on the last value the CoT states, None where it states none; called only where
            the class depends on it, as it costs as much as the others.
        format_valid: The completion parses.
        has_candidate: There is something to judge.
    """
    if key.verdict == "unscored":
        return "unscored", False
    if format_valid and key.verdict == "correct":
        cot = judge_cot()
        return "correct", cot is not None and cot.verdict == "wrong"
    if lenient.verdict == "correct":
        return "format", False
    if not has_candidate or lenient.rule == "no_answer":
        return "no_answer", False
    if lenient.verdict == "undecided":
        return "undecided", False
    cot = judge_cot()
    return ("slip" if cot is not None and cot.verdict == "correct" else "wrong_cot"), False


def ends_elsewhere(cot: str, stated: str, key: str, kind: AnswerKind, judge: Callable[[str], Decision]) -> bool:
    """Whether a CoT whose last value is not the gold never got there: a check may follow the value that it is about.

    Args:
        cot: The CoT of a correct completion.
        stated: The last value it states.
        key: The Key; where only one of the two lists several values, they do not contradict each other.
        kind: What the answer looks like.
        judge: Compares a value with the gold.
    """
    if is_several(stated) != is_several(key):
        return False
    return all(judge(value).verdict == "wrong" for value in find_checked_values(cot, kind))
