"""MetaMathQA: GSM8K and MATH questions rewritten and answered by GPT-3.5; the Key follows `The answer is: `.

Schema: `type` (`GSM_…` or `MATH_…`), `query`, `original_question`, `response`, which ends `The answer is: KEY`, in GSM
rows often after a line `#### KEY`, which is dropped. Boxes inside the CoT are unwrapped.
Source: Yu et al. 2023, "MetaMath: Bootstrap Your Own Mathematical Questions for Large Language Models"; hub id
meta-math/MetaMathQA. Licence: MIT.
"""

import re

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.boxes import unwrap
from sftkey_data.format.key_type import number_or

INPUT = "meta-math/MetaMathQA"
COLUMNS = ("query", "response")

MARK = "The answer is:"
_HASH_LINE = re.compile(r"\n####[^\n]*\s*\Z")


def extract(row: Row) -> Parts:
    """Split the response at its last mark."""
    cot, mark, key = text(row, "response").rpartition(MARK)
    if not mark:
        raise Reject("missing_key", f"response must end in '{MARK} KEY', found no such mark")
    return Parts(
        prompt=text(row, "query"),
        cot=unwrap(_HASH_LINE.sub("", cot)),
        key=key,
        answer_type=number_or(key, "math"),
    )
