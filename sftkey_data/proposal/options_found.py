"""Where a table has the options of a multiple-choice question, and how its Key names one of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from string import ascii_lowercase
from typing import Any

from sftkey_data.extract.parts import Reject, Row
from sftkey_data.mapping.option_text import split_labelled, strip_labels
from sftkey_data.mapping.toml_mapping import ChoicesPart
from sftkey_data.proposal.column_roles import MOST_ROWS, Column, share_of

CHOICES_NAMES = ("choices", "options", "candidates", "alternatives")
OPTION_SEPARATORS = ("|", ";", "\n")
_LABELS = (ascii_lowercase, "123456789", "0123456789")
# Without a word before it, a letter alone: a column `1` says nothing. Endings and `sol` are HellaSwag's and PIQA's.
_OPTION_NAME = re.compile(r"(?P<word>(?:options?|opt?|choices?|alternative|candidate|answer|ending|sol)?)(?P<label>\w)")


@dataclass(frozen=True, slots=True)
class FoundOptions:
    """The columns with the options, the table of the mapping that reads them, and the options of every row."""

    columns: tuple[Column, ...]
    table: Mapping[str, Any]
    of_rows: tuple[tuple[str, ...], ...]


def options_among(columns: Sequence[Column]) -> FoundOptions | None:
    """One column with all options, or a column for each."""
    if (found := _in_one_column(columns)) is not None:
        column, how = found
        return _read((column,), {"column": column.name, **how})
    if each := _a_column_each(columns):
        return _read(each, {"columns": [column.name for column in each]})
    return None


def _read(columns: tuple[Column, ...], table: Mapping[str, Any]) -> FoundOptions:
    part = ChoicesPart.model_validate(table)
    names, values = [column.name for column in columns], zip(*(column.values for column in columns), strict=True)
    return FoundOptions(columns, table, tuple(_listed(part, dict(zip(names, row, strict=True))) for row in values))


def _listed(part: ChoicesPart, row: Row) -> tuple[str, ...]:
    try:
        return part.read(row)
    except Reject:
        return ()


def _in_one_column(columns: Sequence[Column]) -> tuple[Column, dict[str, Any]] | None:
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


def _a_column_each(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns such as A, B, C or option1, option2: the longest run from the first label on."""
    labelled: dict[str, dict[str, Column]] = {}
    for column in columns:
        name = _OPTION_NAME.fullmatch(re.sub(r"[^a-z0-9]", "", column.name.lower()))
        if name is not None and column.is_only_text and column.texts:
            labelled.setdefault(name["word"], {})[name["label"]] = column
    runs = (_run(found, labels) for word, found in labelled.items() for labels in (_LABELS if word else _LABELS[:1]))
    longest = max(runs, key=len, default=())
    return longest if len(longest) > 1 else ()


def _run(found: Mapping[str, Column], labels: str) -> tuple[Column, ...]:
    return tuple(found[label] for label in takewhile(found.__contains__, labels))


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


def option_named(key: Column, options: FoundOptions) -> str | None:
    """How the Key's column names an option: `text`, `number`, `index`, `letter`, or None where it does not."""
    rows = [(str(k).strip(), texts) for k, texts in zip(key.values, options.of_rows, strict=True) if texts and k != ""]
    if share_of(rows, lambda row: row[0] in row[1]) >= MOST_ROWS:
        return "text"
    if all(found.isdigit() for found, _ in rows):
        one_based = all(1 <= int(found) <= len(texts) for found, texts in rows)
        return "number" if one_based and any(int(found) == len(texts) for found, texts in rows) else "index"
    return "letter" if share_of(rows, lambda row: re.fullmatch(r"\(?[A-Za-z]\)?[.:]?", row[0])) >= MOST_ROWS else None
