r"""s1K-1.1: one thousand hard questions with the thoughts of DeepSeek-R1; the Key is the last box of its attempt.

Schema: `solution`, `question`, `cot_type`, `source_type`, `metadata`, `gemini_thinking_trajectory`, `gemini_attempt`,
`deepseek_thinking_trajectory`, `deepseek_attempt`, and `gemini_grade`, `deepseek_grade` (`Yes` or `No`: the attempt
agrees with the solution) with a `…_grade_reason` each. The reference `solution` is free text, so the Key comes from the
attempt. Rejected by design are attempts without a `\boxed{…}`, as proofs are (`missing_key`), and those graded wrong
(`graded_wrong`). Boxes inside the CoT are unwrapped.
Source: Muennighoff et al. 2025, "s1: Simple test-time scaling"; hub id simplescaling/s1K-1.1. Licence: MIT.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sftkey_data.datasets._keys import boxed_key
from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "simplescaling/s1K-1.1"
COLUMNS = ("question", "deepseek_thinking_trajectory", "deepseek_attempt")
EXPECTED_REJECTS = ("missing_key", "graded_wrong")


class Options(BaseModel):
    """Which attempts to take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graded: Literal["correct", "any"] = Field("correct", description="Take attempts graded correct, or any attempt.")


def extract(row: Row, options: Options) -> Parts:
    """The thoughts of DeepSeek-R1, and the last box of its attempt."""
    if options.graded == "correct" and row.get("deepseek_grade") == "No":
        raise Reject("graded_wrong", "deepseek_grade must be 'Yes', found 'No'; --set graded=any takes it")
    return Parts(
        prompt=text(row, "question"),
        cot=unwrap(text(row, "deepseek_thinking_trajectory")),
        key=boxed_key(text(row, "deepseek_attempt"), "deepseek_attempt"),
        answer_type="math",
    )
