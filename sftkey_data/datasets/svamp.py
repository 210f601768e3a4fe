"""SVAMP: elementary word problems in varied wording; the CoT is the equation and its value.

Schema: `ID`, `Body`, `Question`, `Equation` such as `( 8.0 - 3.0 )`, `Answer` (a number, as text on the hub), `Type`,
`question_concat`. The CoT reads `(8 - 3) = 5`: numbers without their `.0`, brackets without their spaces.
Source: Patel et al. 2021, "Are NLP Models really able to Solve Simple Math Word Problems?"; hub id ChilleD/SVAMP.
Licence: MIT.
"""

import re

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.cells import text_or_number

INPUT = "ChilleD/SVAMP"
COLUMNS = ("Body", "Question", "Equation", "Answer")

_POINT_ZERO = re.compile(r"(?<=\d)\.0+(?!\d)")
_INNER_SPACE = re.compile(r"(?<=\() | (?=\))")


def extract(row: Row) -> Parts:
    """Body and question are the prompt; the answer is both the Key and the equation's right side."""
    equation = _INNER_SPACE.sub("", _POINT_ZERO.sub("", text(row, "Equation").strip()))
    if not equation:
        raise Reject("missing_cot", "Equation must not be empty")
    if isinstance(row["Answer"], bool):
        raise Reject("wrong_type", "Answer must be a number or its text, found bool")
    key = _POINT_ZERO.sub("", text_or_number(row, "Answer").strip())
    if not key:
        raise Reject("missing_key", "Answer must not be empty")
    prompt = f"{text(row, 'Body').strip()} {text(row, 'Question').strip()}"
    return Parts(prompt=prompt, cot=f"{equation} = {key}", key=key, answer_type="number")
