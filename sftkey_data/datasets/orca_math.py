r"""Orca-Math: 200 thousand grade-school word problems answered by GPT-4 Turbo in free text.

Schema: `question`, `answer`. Nothing marks the Key, so it is taken only where the answer states it plainly: the last
`\boxed{…}`, else the one number of the last sentence, else the one number after its last `=`. A last sentence with
several other numbers (`3 of the 5 pens`) is rejected as `ambiguous_key`, one without any as `missing_key`, both by
design. The CoT is the whole answer, boxes unwrapped.
Source: Mitra et al. 2024, "Orca-Math: Unlocking the potential of SLMs in Grade School Math"; hub id
microsoft/orca-math-word-problems-200k. Licence: MIT.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sftkey_data.datasets._keys import boxed_key
from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.boxes import find_boxes, unwrap
from sftkey_data.format.key_type import number_or

INPUT = "microsoft/orca-math-word-problems-200k"
COLUMNS = ("question", "answer")
EXPECTED_REJECTS = ("ambiguous_key", "missing_key")

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_NUMBER = re.compile(  # an ordinal (`3rd`), an exponent and a digit inside a word are none
    r"(?<![\w.^])-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?!\d)(?!st\b|nd\b|rd\b|th\b)%?"
)


class Options(BaseModel):
    """How to read an answer that states several numbers at its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ambiguous: Literal["reject", "last_number"] = Field(
        "reject", description="Reject a last sentence with several numbers, or take its last number."
    )


def extract(row: Row, options: Options) -> Parts:
    """The whole answer is the CoT, the number it ends on the Key."""
    answer = text(row, "answer")
    key = boxed_key(answer, "answer") if find_boxes(answer) else _stated_number(_last_sentence(answer), options)
    return Parts(prompt=text(row, "question"), cot=unwrap(answer), key=key, answer_type=number_or(key, "math"))


def _last_sentence(answer: str) -> str:
    return _SENTENCE_END.split(answer.strip())[-1]


def _stated_number(sentence: str, options: Options) -> str:
    numbers = _numbers(sentence)
    if not numbers:
        raise Reject("missing_key", f"answer must end on a number, found {sentence[-80:]!r}")
    if _num_values(numbers) > 1 and options.ambiguous == "reject":
        result = _numbers(sentence.rpartition("=")[2]) if "=" in sentence else []
        if _num_values(result) != 1:
            raise Reject("ambiguous_key", f"the last sentence must state one number, found {', '.join(numbers)}")
    return numbers[-1]


def _num_values(numbers: list[str]) -> int:
    return len({number.replace(",", "") for number in numbers})


def _numbers(sentence: str) -> list[str]:
    return [found.group().replace("$", "") for found in _NUMBER.finditer(sentence)]
