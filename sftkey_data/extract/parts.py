"""What an extractor receives and returns: a row in, parts out, never positions."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

Row = Mapping[str, Any]
AnswerType = Literal["number", "math", "choice", "boolean", "text", "list"]
ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)


class Reject(Exception):  # noqa: N818 - a verdict on a row, not a fault of the program
    """A row that cannot be used, under a `snake_case` reason that is counted in the manifest.

    Args:
        reason: Short code, for example `missing_key`.
        detail: What was found and what was expected, kept in `rejects.jsonl`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Parts(NamedTuple):
    """The parts of one example; name them, their order is no promise. (A tuple, as it is made three times faster.)

    `history` holds the (role, content) turns before the prompt, roles `system`, `user` and `assistant`; the prompt is
    the last user turn. `rendered` says that the prompt stands as a model is to see it, turns and marks included, and is
    written as it is. `metadata` is free for the extractor's own use; schema version 1 does not store it. `left_out`
    holds what of the row is in no part, as (`snake_case` name, text): it is counted by name, and shown.
    """

    prompt: str
    cot: str
    key: str
    answer_type: AnswerType = "text"
    choices: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    history: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    rendered: bool = False


def text(row: Row, column: str) -> str:
    """The string in `column`.

    Raises:
        Reject: `missing_column`, `null_value` or `wrong_type`.
    """
    value = row.get(column)
    if isinstance(value, str):
        return value
    if column not in row:
        raise Reject("missing_column", f"column {column!r} is missing in this row, found {', '.join(map(repr, row))}")
    if value is None:
        raise Reject("null_value", f"{column} must be a string, found null")
    raise Reject("wrong_type", f"{column} must be a string, found {type(value).__name__}")
