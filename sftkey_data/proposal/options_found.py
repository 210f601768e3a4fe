"""Where a table has the options of a multiple-choice question, and how its Key names one of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sftkey_data.extract.parts import Reject
from sftkey_data.mapping.option_text import split_labelled, strip_labels
from sftkey_data.mapping.toml_mapping import ColumnMapping
from sftkey_data.proposal.column_roles import MOST_ROWS, Column, share_of

CHOICES_NAMES = ("choices", "options", "candidates", "alternatives")
OPTION_SEPARATORS = ("|", ";", "\n")


def choices_of_row(columns: Sequence[Column]) -> tuple[Column, dict[str, Any]] | None:
    """The column with the options, and how the mapping reads it."""
    for column in sorted(columns, key=lambda column: column.rank(CHOICES_NAMES)):
        if column.is_list and column.is_named(CHOICES_NAMES):
            return column, {"labels": True} if all(_have_labels(v) for v in column.values if v) else {}
        if column.is_text and all(map(_is_labelled, column.texts)):
            return column, {"labels": True}
        if column.is_text and column.is_named(CHOICES_NAMES):
            for separator in OPTION_SEPARATORS:
                if sum(separator in text for text in column.texts) >= MOST_ROWS * len(column.values):
                    return column, {"separator": separator}
    return None


def _have_labels(options: list[Any]) -> bool:
    try:
        return bool(strip_labels([str(option) for option in options]))
    except Reject:
        return False


def _is_labelled(text: str) -> bool:
    try:
        return len(split_labelled(text)) > 1
    except Reject:
        return False


def option_named(key: Column, choices: tuple[Column, dict[str, Any]]) -> str | None:
    """How the Key's column names an option: `text`, `number`, `index`, `letter`, or None where it does not."""
    column, how = choices
    rows = [(str(k).strip(), _listed(c, how)) for k, c in zip(key.values, column.values, strict=True) if c and k != ""]
    if share_of(rows, lambda row: row[0] in row[1]) >= MOST_ROWS:
        return "text"
    if all(found.isdigit() for found, _ in rows):
        one_based = all(1 <= int(found) <= len(texts) for found, texts in rows)
        return "number" if one_based and any(int(found) == len(texts) for found, texts in rows) else "index"
    return "letter" if share_of(rows, lambda row: re.fullmatch(r"\(?[A-Za-z]\)?[.:]?", row[0])) >= MOST_ROWS else None


def _listed(value: Any, how: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        part = ColumnMapping.model_validate(
            {"prompt": "p", "cot": "c", "key": "k", "choices": {"column": "o", **how}}
        ).choices
        return part.read({"o": value}) if part is not None else ()
    except Reject:
        return ()
