"""Where an error comes from: the format, the CoT, or the step from the CoT to the Key."""

import re
from collections.abc import Sequence

from sftkey_data.extract import AnswerType
from sftkey_eval.decision import Decision
from sftkey_eval.lenient import MAX_TAIL, find_marked
from sftkey_eval.markup import fold, plain, strip_markup
from sftkey_eval.numbers import find_numbers
from sftkey_eval.options import LETTERS, find_options, find_truths, letter_of_value
from sftkey_eval.verdict import ErrorClass


def classify(
    key: Decision, lenient: Decision, cot: Decision | None, *, format_valid: bool, has_candidate: bool
) -> tuple[ErrorClass, bool]:
    """The error class of a scored completion, and whether a correct one was lucky.

    Args:
        key: Verdict on the Key of the strict parse.
        lenient: Verdict on the best candidate; for a valid format the same as `key`.
        cot: Verdict on the last value the CoT states, None where it states none.
        format_valid: The completion parses.
        has_candidate: There is something to judge.
    """
    if key.verdict == "unscored":
        return "unscored", False
    if format_valid and key.verdict == "correct":
        return "correct", cot is not None and cot.verdict == "wrong"
    if lenient.verdict == "correct":
        return "format", False
    if not has_candidate or lenient.rule == "no_answer":
        return "no_answer", False
    if lenient.verdict == "undecided":
        return "undecided", False
    return ("slip" if cot is not None and cot.verdict == "correct" else "wrong_cot"), False


def find_cot_value(cot: str, answer_type: AnswerType, choices: Sequence[str] | None = None) -> str | None:
    """The last value a CoT states, None where it states none.

    For numbers the last number. For choices the letter of the last option named, or of the one option whose text or
    number is the last value, whichever comes last. For yes/no the last of these words. Otherwise what the CoT marks as
    its answer, and in mathematics failing that what its last equation states.
    """
    tail = cot[-MAX_TAIL:]
    if answer_type == "number":
        return _last_number(tail)
    if answer_type == "choice":
        return _last_choice(tail, choices)
    if answer_type == "boolean":
        return next((found.group() for found in reversed(list(find_truths(tail)))), None)
    marked = find_marked(tail, answer_type, choices)
    if marked is not None and marked[0]:
        return marked[0]
    return _last_side(tail) if answer_type == "math" else None


def _last_number(text: str) -> str | None:
    return next((found.group().strip() for found in reversed(list(find_numbers(text)))), None)


def _last_choice(text: str, choices: Sequence[str] | None) -> str | None:
    named = list(find_options(text, choices))
    position, letter = named[-1] if named else (-1, None)
    if not choices:
        return letter
    if ending := _choice_at_end(text, choices):
        return ending
    numbers = list(find_numbers(text))
    if numbers and numbers[-1].start() > position:
        return letter_of_value(numbers[-1].group(), choices) or letter
    return letter


def _choice_at_end(text: str, choices: Sequence[str]) -> str | None:
    """The one option whose text ends the CoT; of two that do, the longer one (`red` and `dark red`)."""
    end = fold(plain(strip_markup(text[-1_000:])))
    ending = [
        (len(wanted), letter)
        for letter, choice in zip(LETTERS, choices, strict=False)
        if (wanted := fold(plain(strip_markup(choice)))) and re.search(rf"(?<![\w.,-]){re.escape(wanted)}$", end)
    ]
    ending.sort(reverse=True)
    return ending[0][1] if len(ending) == 1 or (ending and ending[0][0] > ending[1][0]) else None


_SIDE_END = re.compile(r"\$|\\[)\]]|\n|[.,;](?=\s|$)")


def _last_side(text: str) -> str | None:
    """The right-hand side of the last equation, or the last number where one follows it."""
    before, equals, side = text.rpartition("=")
    if not equals:
        return _last_number(text)
    end = _SIDE_END.search(side)
    stated, rest = (side[: end.start()], side[end.start() :]) if end else (side, "")
    return _last_number(rest) or stated.strip() or _last_number(before)
