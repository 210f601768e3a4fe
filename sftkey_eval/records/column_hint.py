"""Which columns of a file are likely the completion, the gold and the id, so that a message can name the flags."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from sftkey_data.proposal.column_roles import Column
from sftkey_eval.records.row_files import lookup

COMPLETION_FLAG, GOLD_FLAG, ID_FLAG = "--completion-field", "--gold-field", "--id-field"
# Paths first, as servers and their batches log; then names, the likeliest first.
_MESSAGES = tuple(
    f"{before}choices.0.{what}" for before in ("response.body.", "body.", "") for what in ("message.content", "text")
)
_PATHS: Mapping[str, tuple[str, ...]] = {
    COMPLETION_FLAG: (*_MESSAGES, *(f"response.{path}" for path in _MESSAGES[-2:]), "outputs.0.text", "message.content")
}
_NAMES: Mapping[str, tuple[str, ...]] = {
    COMPLETION_FLAG: (
        *("completion", "output", "response", "generation", "generated_text", "prediction", "model_output", "reply"),
        *("model_answer", "generated", "predicted", "text", "answer"),
    ),
    GOLD_FLAG: (
        *("gold", "target", "answer", "label", "reference", "ground_truth", "expected", "expected_answer", "correct"),
        *("correct_answer", "solution", "key", "final_answer"),
    ),
    ID_FLAG: ("id", "custom_id", "item_id", "doc_id", "uid", "uuid", "qid", "idx", "index"),
}


def likely_flags(row: Mapping[str, Any], flags: Iterable[str]) -> str:
    """The flags with the columns of a row that they likely name, as they are typed; empty where none does."""
    words: list[str] = []
    for flag in sorted(flags, key=[*_NAMES].index):
        if (name := _likely(row, flag, taken=words)) is not None:
            words += [flag, name]
    return shlex.join(words)


def _likely(row: Mapping[str, Any], flag: str, *, taken: list[str]) -> str | None:
    for path in _PATHS.get(flag, ()):
        if isinstance(lookup(row, path), str):
            return path
    columns = [Column(name, (value,)) for name, value in row.items() if name not in taken]
    named = [column for column in columns if column.is_text and column.is_named(_NAMES[flag])]
    return min(named, key=lambda column: column.rank(_NAMES[flag]), default=Column("", ())).name or None
