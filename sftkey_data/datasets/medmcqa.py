"""MedMCQA: questions of Indian medical entrance exams with an expert's explanation.

Schema: `id`, `question`, `opa` to `opd`, `cop` (the right option: 0 to 3 on the hub, -1 in its test split; 1 to 4 in
the authors' own files, to be read with `--set first_option=1`), `choice_type`, `exp` (explanation), `subject_name`,
`topic_name`. An eighth of the train rows and half of the validation rows have no explanation: rejected by design, as
`missing_cot`.
Source: Pal et al. 2022, "MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain Question
Answering"; hub id openlifescienceai/medmcqa. Licence: Apache-2.0.
"""

from pydantic import Field

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.cells import whole_number
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_parts

INPUT = "openlifescienceai/medmcqa"
OPTIONS = ("opa", "opb", "opc", "opd")
COLUMNS = ("question", *OPTIONS, "cop")  # without `exp`, which may be null
EXPECTED_REJECTS = ("missing_cot",)


class Options(ChoiceOptions):
    """How the right option is numbered."""

    first_option: int = Field(0, ge=0, le=1, description="Number of the first option in `cop`: 0 on the hub.")


def extract(row: Row, options: Options) -> Parts:
    """The explanation is the CoT."""
    number = whole_number(row, "cop")
    if "exp" in row and not row["exp"]:
        raise Reject("missing_cot", "the row has no explanation")
    texts = [text(row, column) for column in OPTIONS]
    return choice_parts(text(row, "question"), text(row, "exp"), texts, number - options.first_option, options)
