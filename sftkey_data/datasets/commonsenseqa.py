"""CommonsenseQA with the explanations of ECQA: five options, and why one fits and the others do not.

Schema: `q_no`, `q_concept`, `q_text`, `q_op1` to `q_op5`, `q_ans` (the text of the right option), `taskA_pos` and
`taskA_neg` (properties), `taskB` (the explanation as running text, the CoT).
Source: Aggarwal et al. 2021, "Explanations for CommonsenseQA: New Dataset and Models", over Talmor et al. 2019,
"CommonsenseQA"; hub id tasksource/ecqa. Licence: CDLA-Sharing-1.0.
"""

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_parts

INPUT = "tasksource/ecqa"
OPTIONS = ("q_op1", "q_op2", "q_op3", "q_op4", "q_op5")
COLUMNS = ("q_text", *OPTIONS, "q_ans", "taskB")
Options = ChoiceOptions


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """The running explanation is the CoT; the Key is the option that reads as the answer does."""
    texts = [text(row, column).strip() for column in OPTIONS]
    answer = text(row, "q_ans").strip()
    if texts.count(answer) != 1:
        raise Reject("wrong_choice", f"q_ans {answer!r} must be one of the options, found {texts}")
    return choice_parts(text(row, "q_text"), text(row, "taskB"), texts, texts.index(answer), options)
