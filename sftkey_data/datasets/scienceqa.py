"""ScienceQA: school science questions with a lecture and a solution; rows with an image are rejected.

Schema: `image`, `question`, `choices` (texts), `answer` (index, from 0), `hint` (a text that the question refers to,
often empty), `task`, `grade`, `subject`, `topic`, `category`, `skill`, `lecture`, `solution`. The hint stands before
the question; lecture and solution are the CoT. About half the rows have an image, and some have neither lecture nor
solution: rejected by design, as `has_image` and `missing_cot`.
Source: Lu et al. 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains for Science Question Answering";
hub id derek-thomas/ScienceQA. Licence: CC BY-SA 4.0 on the hub, CC BY-NC-SA by the authors' page.
"""

from typing import Literal

from pydantic import Field

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.cells import whole_number
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_parts, string_list

INPUT = "derek-thomas/ScienceQA"
COLUMNS = ("question", "choices", "answer", "hint", "lecture", "solution")
EXPECTED_REJECTS = ("has_image", "missing_cot")


class Options(ChoiceOptions):
    """What the CoT is made of."""

    cot: Literal["lecture_and_solution", "solution"] = Field(
        "lecture_and_solution", description="The CoT: lecture and solution, or the solution alone."
    )


def extract(row: Row, options: Options) -> Parts:
    """Hint and question are the prompt."""
    if row.get("image") is not None:
        raise Reject("has_image", "the question refers to an image")
    index = whole_number(row, "answer")
    columns = ("lecture", "solution") if options.cot == "lecture_and_solution" else ("solution",)
    cot = _paragraphs(row, columns)
    if not cot:
        raise Reject("missing_cot", f"{' and '.join(columns)} must not be empty")
    question = _paragraphs(row, ("hint", "question"))
    return choice_parts(question, cot, string_list(row["choices"], "choices"), index, options)


def _paragraphs(row: Row, columns: tuple[str, ...]) -> str:
    return "\n\n".join(part for column in columns if (part := text(row, column).strip()))
