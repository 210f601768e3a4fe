"""The answer type that the text of a Key implies."""

import re

from sftkey_data.extract import AnswerType
from sftkey_data.format.formula import looks_like_formula

_NUMBER = re.compile(r"[-+−]?[$€£]?(?:(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?%?")
"""Commas stand between thousands: `3,5,7` is a list."""
_LETTER = re.compile(r"\(?[A-Z]\)?")
_TRUTHS = frozenset({"yes", "no", "true", "false"})


def is_letter(key: str) -> bool:
    """Whether it is a capital, as options have, perhaps in parentheses."""
    return _LETTER.fullmatch(key.strip()) is not None


def is_truth(key: str) -> bool:
    """Whether it is yes, no, true or false."""
    return key.strip().rstrip(".").lower() in _TRUTHS


def is_number(key: str) -> bool:
    """Whether it is one plain number, with its sign, currency or percent mark."""
    return _NUMBER.fullmatch(key.strip()) is not None


def number_or(key: str, otherwise: AnswerType) -> AnswerType:
    """`number` where the Key is one plain number."""
    return "number" if is_number(key) else otherwise


def infer_answer_type(key: str) -> AnswerType:
    """The type of a Key of which nothing else is known: a letter, a truth value, a number, a formula, else text."""
    if is_letter(key):
        return "choice"
    if is_truth(key):
        return "boolean"
    return number_or(key, "math" if looks_like_formula(key.strip()) else "text")
