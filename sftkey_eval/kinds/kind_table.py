"""Which answer types there are: the one table from a name to its kind."""

from collections.abc import Mapping
from typing import assert_never, get_args

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.kinds.boolean_kind import BOOLEAN
from sftkey_eval.kinds.choice_kind import CHOICE
from sftkey_eval.kinds.list_kind import LIST
from sftkey_eval.kinds.math_kind import MATH
from sftkey_eval.kinds.number_kind import NUMBER
from sftkey_eval.kinds.text_kind import TEXT
from sftkey_eval.records.completion_rows import check_answer_type


def _kind(name: AnswerType) -> AnswerKind:
    match name:
        case "number":
            return NUMBER
        case "math":
            return MATH
        case "choice":
            return CHOICE
        case "boolean":
            return BOOLEAN
        case "text":
            return TEXT
        case "list":
            return LIST
        case _:
            assert_never(name)


KINDS: dict[str, AnswerKind] = {name: _kind(name) for name in get_args(AnswerType)}
"""By name. A type that the data does not know is registered by one line: `KINDS["date"] = DATE`."""


def find_kind(name: str, where: str = "", kinds: Mapping[str, AnswerKind] = KINDS) -> AnswerKind:
    """The kind of that name; `where` begins the message of the error.

    Raises:
        SFTKeyError: There is none; names the nearest.
    """
    return kinds[check_answer_type(name, kinds, where)]
