"""The last value a CoT states: what the analysis of slips compares with the gold."""

import re
from itertools import islice

from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import AnswerMarks
from sftkey_eval.extraction.candidates import MAX_TAIL
from sftkey_eval.extraction.marked_answers import find_marked

MAX_CHECKED = 8
"""Sentences before a check that are looked at for the value it checks."""


def find_cot_value(
    cot: str, kind: AnswerKind, choices: Choices | None = None, marks: AnswerMarks | None = None
) -> str | None:
    """The last value a CoT states, None where it states none."""
    tail = cot[-MAX_TAIL:]
    if kind.find_cot_value is not None:
        return kind.find_cot_value(tail, choices)
    marked = find_marked(tail, kind, choices, marks=marks)
    return marked[0] or None if marked else None


def find_checked_values(cot: str, kind: AnswerKind) -> list[str]:
    """The values right before a check that ends a CoT: `x = 2. To check, 2^3 = 8` states 8 last, but reached 2."""
    tail = cot[-MAX_TAIL:]
    if kind.stated_values is None or not _CHECK.search(tail[-_MAX_CHECK_CHARS:]):
        return []
    return list(islice(kind.stated_values(tail), 1, MAX_CHECKED))


_MAX_CHECK_CHARS = 1_000
_CHECK = re.compile(r"\b(?:check|verif|confirm|valid|satisf|plug|substitut)", re.IGNORECASE)
