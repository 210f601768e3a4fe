"""What several datasets share: a Key marked by a box, and the answer type that a Key's text implies."""

import re

from sftkey_data.extract import AnswerType, Reject
from sftkey_data.format.boxes import find_boxes, unwrap
from sftkey_data.format.formula import looks_like_formula

_NUMBER = re.compile(r"[-+−]?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?")
_LETTER = re.compile(r"\(?[A-Z]\)?")
_TRUTHS = frozenset({"yes", "no", "true", "false"})


def boxed_key(text: str, column: str) -> str:
    r"""The content of the last closed box.

    Of several that differ too, unlike in a mapping of a user's own: a solution boxes a guess or a step before the
    answer, and MATH's own evaluation, which these sets follow, reads the last.

    Raises:
        Reject: `missing_key`, naming the column.
    """
    boxes = find_boxes(text)
    if not boxes:
        raise Reject("missing_key", f"{column} must hold a closed \\boxed{{…}}, found none")
    return unwrap(text[boxes[-1].content_start : boxes[-1].content_end])


def number_or(key: str, otherwise: AnswerType) -> AnswerType:
    """`number` where the Key is one plain number, with its sign, currency or percent mark."""
    return "number" if _NUMBER.fullmatch(key.strip()) else otherwise


def infer_answer_type(key: str) -> AnswerType:
    """The type of a Key of which nothing else is known: a letter, a truth value, a number, a formula, else text."""
    key = key.strip()
    if _LETTER.fullmatch(key):
        return "choice"
    if key.rstrip(".").lower() in _TRUTHS:
        return "boolean"
    return number_or(key, "math" if looks_like_formula(key) else "text")
