"""The answer type of a completion whose row names none, from its options and its gold."""

import re

from sftkey_data.format.formula import looks_like_formula
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.records.completion_rows import Completion

_LETTER = re.compile(r"[A-Z]|\([A-Z]\)")
_TRUTHS = frozenset({"yes", "no", "true", "false"})


def answer_type_of(row: Completion) -> str:
    """The type of a row that does not say: a choice, a number, a truth value, a formula, or text."""
    gold = (row.gold or "").strip()
    if row.choices:
        return "choice"
    if read_number(gold) is not None:
        return "number"
    if _LETTER.fullmatch(gold):
        return "choice"
    if gold.rstrip(".").lower() in _TRUTHS:
        return "boolean"
    return "math" if looks_like_formula(gold) else "text"
