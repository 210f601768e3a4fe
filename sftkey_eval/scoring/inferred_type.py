"""The answer type of a completion whose row names none, from its options and its gold."""

from sftkey_data.format.key_type import infer_answer_type
from sftkey_eval.answers.numbers import read_number
from sftkey_eval.records.completion_rows import Completion


def answer_type_of(row: Completion) -> str:
    """The type of a row that does not say: a choice, a number, a truth value, a formula, or text.

    A gold is a number here in more notations than a Key in a build, as grading reads them: `½`, `1e5`, `5 km`.
    """
    if row.choices:
        return "choice"
    gold = (row.gold or "").strip()
    return "number" if read_number(gold) is not None else infer_answer_type(gold)
