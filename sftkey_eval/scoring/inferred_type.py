"""The answer type of a completion whose row names none, from its options and its gold."""

import re

from sftkey_eval.answers.numbers import read_number
from sftkey_eval.records.completion_rows import Completion


def infer_answer_type(row: Completion) -> str:
    """The type of a row that does not say: a choice, a number, a formula, or text, by its options and its gold."""
    gold = (row.gold or "").strip()
    if row.choices:
        return "choice"
    if read_number(gold) is not None:
        return "number"
    if len(gold) == 1 and gold.isascii() and gold.isupper():
        return "choice"
    return "math" if _FORMULA.search(gold) else "text"


_FORMULA = re.compile(r"\\[A-Za-z]|\w\^|^\$.+\$$", re.DOTALL)
"""A LaTeX command, a power, or signs of mathematics around the whole."""
