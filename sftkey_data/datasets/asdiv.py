"""ASDiv: elementary word problems in diverse wording; the CoT is the formula.

Schema: `body`, `question`, `solution_type`, `answer` such as `9 (apples)`, `formula` such as `7+2=9`. The Key is the
answer without the units in brackets; an answer of several values, `3 (red); 4 (blue)`, becomes the list `3, 4`.
Source: Miao et al. 2020, "A Diverse Corpus for Evaluating and Developing English Math Word Problem Solvers"; hub id
EleutherAI/asdiv, whose one subset is `asdiv` and one split `validation`. Licence: CC BY-NC 4.0.
"""

import re

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.key_type import number_or

INPUT = "EleutherAI/asdiv:asdiv"
SPLIT = "validation"
COLUMNS = ("body", "question", "answer", "formula")

_UNIT = re.compile(r"\([^()]*\)")


def extract(row: Row) -> Parts:
    """Body and question are the prompt, the formula is the CoT, the answer without its units the Key."""
    formula = text(row, "formula").strip()
    if not formula:
        raise Reject("missing_cot", "formula must not be empty")
    values = [value.strip() for value in _UNIT.sub("", text(row, "answer")).split(";")]
    if not all(values):
        raise Reject("missing_key", f"answer must be values with units in brackets, found {row['answer']!r}")
    return Parts(
        prompt=f"{text(row, 'body').strip()} {text(row, 'question').strip()}",
        cot=formula,
        key=", ".join(values),
        answer_type="list" if len(values) > 1 else number_or(values[0], "text"),
    )
