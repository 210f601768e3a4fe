"""Files of completions, made here or elsewhere, read through a map of field names.

The whole file is checked before the first row is scored; every fault names its place.
"""

import ast
import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.cells import number_text
from sftkey_data.extract.parts import ANSWER_TYPES, Reject
from sftkey_eval.records.column_hint import COMPLETION_FLAG, GOLD_FLAG, ID_FLAG, likely_flags
from sftkey_eval.records.completion_fields import CHOICES, ID, PROMPT, QUESTION, USUAL, Fields
from sftkey_eval.records.golds import read_golds
from sftkey_eval.records.row_files import MISSING, kind_name, lookup, missing_field, read_row_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One row of a completions file. Missing texts are None where that matters for the score, else empty.

    Samples of one item share its `item_id` and are numbered; where the file does not say, a row is its item.
    """

    id: str
    item_id: str
    sample: int
    dataset: str
    split: str
    prompt: str
    completion: str | None
    gold: str | None
    answer_type: str | None
    choices: tuple[str, ...] | None
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first pass over a completions file found.

    `numbered` is whether its rows have no id but their number. Of golds in another file, `golds` is where they are from
    and `num_unasked` how many have no completion.
    """

    num_rows: int
    sha256: str
    numbered: bool = False
    golds: Mapping[str, str] | None = None
    num_unasked: int = 0


class _Rows:
    """Place and row of a file, each with an id and, where the golds are in another file, with its gold."""

    def __init__(self, path: Path, fields: Fields) -> None:
        self._path, self._fields, self.id_field = path, fields, fields.id or ID
        self.golds = None if fields.golds is None else read_golds(fields.golds, fields)
        self.numbered = False
        self.first: Mapping[str, Any] = {}
        """As it stands in the file."""

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for number, (where, row) in enumerate(read_row_file(self._path, "completions"), start=1):
            has_id = lookup(row, self.id_field) is not MISSING
            if number == 1:
                self.first, self.numbered = row, self._fields.id is None and not has_id
            if self.numbered and has_id:
                raise SFTKeyError(f"{where}: has an {ID!r}, the first row has none; expected it in all rows or in none")
            yield where, self._joined({ID: str(number), **row} if self.numbered else row, where)

    def _joined(self, row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        if self.golds is None or lookup(row, self.id_field) is MISSING:
            return row
        ids = (read_text(row, self.id_field, where), read_text(row, "item_id", where))
        return self.golds.joined(row, tuple(id_ for id_ in ids if id_ is not None), where)


def survey_completions(path: Path, fields: Fields, answer_types: Collection[str] = ANSWER_TYPES) -> Survey:
    """Read every row once, so that scoring starts only on a file that can be scored to its end.

    Args:
        path: See `read_row_file`.
        fields: Where the columns are.
        answer_types: Those that a row may name; whoever scores knows which.

    Raises:
        SFTKeyError: Missing or empty file, broken JSON, a missing column, a repeated id, a value of a wrong type, an id
            without a gold.
    """
    places: dict[str, str] = {}
    needed, rows = _needed(fields), _Rows(path, fields)
    without_id = ""
    items: set[str] = set()
    for where, row in rows:
        if needed:
            needed = {name: flag for name, flag in needed.items() if lookup(row, name) is MISSING}
        if lookup(row, rows.id_field) is MISSING:
            without_id = without_id or where
            continue
        found = _completion(row, fields, answer_types, where)
        if found.id in places:
            raise SFTKeyError(f"{where}: id {found.id!r} is already in {places[found.id]}; ids must be unique")
        places[found.id] = where.removeprefix(f"{path} ")
        items |= {found.id, found.item_id} if rows.golds is not None else set()
    if not (places or without_id):
        raise SFTKeyError(f"{path}: no rows, expected one JSON object per line")
    # Before a single row without an id: where no row has the column, the flag that names another is what helps.
    _refuse_missing(path, rows.first, needed)
    if without_id:
        raise SFTKeyError(f"{without_id}: no {rows.id_field!r}, expected one in every row")
    golds = rows.golds
    with path.open("rb") as file:
        return Survey(
            len(places),
            hashlib.file_digest(file, "sha256").hexdigest(),
            numbered=rows.numbered,
            golds=golds.record if golds is not None else None,
            num_unasked=len(golds.by_id.keys() - items) if golds is not None else 0,
        )


def _needed(fields: Fields) -> dict[str, str]:
    """The columns that at least one row must have, and the flags that name others."""
    needed = {fields.id: ID_FLAG} if fields.id is not None else {}
    needed[fields.completion] = COMPLETION_FLAG
    if fields.golds is None:
        needed[fields.gold] = GOLD_FLAG
    if fields.choices is not None:
        needed[fields.choices] = "--choices-field"
    if fields.prompt is not None:
        needed[fields.prompt] = "--prompt-field"
    if fields.finish_reason != Fields().finish_reason:
        needed[fields.finish_reason] = "--finish-reason-field"
    return needed


def _refuse_missing(path: Path, first: Mapping[str, Any], missing: Mapping[str, str]) -> None:
    """Refuse a file whose rows lack columns, with all of the flags that name others, as they may have to be given."""
    if not missing:
        return
    (name, flag), *others = missing.items()
    usual = {one: its for one, its in missing.items() if one in USUAL}  # what was asked for by name is not guessed
    likely = likely_flags(first, usual.values())
    if flag in likely.split():
        lacking = " and no ".join(repr(one) for one in missing)
        found = f"no column {lacking}; found: {', '.join(first)}"
    else:
        found = missing_field(first, name) + "".join(f"; nor {other!r}" for other, _ in others)
    named = " and ".join(missing.values()) + (" name others" if others else " names another")
    elsewhere = "; or --golds FILE, with ids" if GOLD_FLAG in usual.values() and GOLD_FLAG not in likely else ""
    raise SFTKeyError(f"{path}: {found}; {named}{f', likely {likely}' if likely else ''}{elsewhere}")


def read_completions(path: Path, fields: Fields, answer_types: Collection[str] = ANSWER_TYPES) -> Iterator[Completion]:
    """Rows in the order of the file.

    Raises:
        SFTKeyError: As `survey_completions`, apart from repeated ids.
    """
    for where, row in _Rows(path, fields):
        yield _completion(row, fields, answer_types, where)


def _completion(row: Mapping[str, Any], fields: Fields, answer_types: Collection[str], where: str) -> Completion:
    id_ = read_text(row, name := fields.id or ID, where)
    if id_ is None:
        raise SFTKeyError(f"{where}: {name!r} must be a string, found null")
    prompts = (PROMPT, QUESTION) if fields.prompt is None else (fields.prompt,)
    return Completion(
        id=id_,
        item_id=read_text(row, "item_id", where) or id_,
        sample=_number(row, "sample", where),
        dataset=read_text(row, "dataset", where) or "",
        split=read_text(row, "split", where) or "",
        prompt=next(filter(None, (read_text(row, prompt, where) for prompt in prompts)), ""),
        completion=read_text(row, fields.completion, where),
        gold=read_gold(row, fields.gold, where),
        answer_type=_answer_type(row, answer_types, where),
        choices=read_choices(row, fields.choices or CHOICES, where),
        finish_reason=read_text(row, fields.finish_reason, where),
    )


def read_text(row: Mapping[str, Any], name: str, where: str) -> str | None:
    """A column as text, a number written out, None where it is null or absent.

    Raises:
        SFTKeyError: It is anything else.
    """
    value = row.get(name)
    if value is None and "." in name:
        value = lookup(row, name)
    if value is None or isinstance(value, str):
        return value
    return None if value is MISSING else _text(value, name, where)


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            return number_text(value, name)
        except Reject as reject:
            raise SFTKeyError(f"{where}: {reject.reason}: {reject.detail}") from None
    raise SFTKeyError(f"{where}: {name!r} must be a string, found {kind_name(value)}")


def _number(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name) or "0"
    # Numbers of JSON keep their digits, as text; nine of them fit the int32 of `verdicts.parquet`.
    if (
        isinstance(value, str | int)
        and not isinstance(value, bool)
        and (text := str(value)).isdecimal()
        and len(text) < 10
    ):
        return int(text)
    raise SFTKeyError(f"{where}: {name!r} must be a whole number from 0 on, found {value!r}")


def read_gold(row: Mapping[str, Any], name: str, where: str) -> str | None:
    """An answer as text: a boolean in words, a list of strings with commas, None where it is null or absent.

    Raises:
        SFTKeyError: It is anything else.
    """
    value = lookup(row, name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(_text(part, name, where) for part in value)
    return read_text(row, name, where)


def _answer_type(row: Mapping[str, Any], answer_types: Collection[str], where: str) -> str | None:
    value = read_text(row, "answer_type", where)
    return None if value is None else check_answer_type(value, answer_types, f"{where}: ")


def check_answer_type(name: str, answer_types: Collection[str], where: str = "") -> str:
    """The name, where it is one of the answer types.

    Raises:
        SFTKeyError: It is none; names the nearest one.
    """
    if name not in answer_types:
        known = ", ".join(answer_types)
        raise SFTKeyError(f"{where}unknown answer type {name!r}{nearest(name, answer_types)}; known: {known}")
    return name


def read_choices(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    """Option texts, None where the column is null or absent; a cell of a table may write its list out.

    Raises:
        SFTKeyError: It is no list of strings or numbers.
    """
    value = lookup(row, name)
    if value is None or value is MISSING:
        return None
    if isinstance(value, str):
        value = _written_list(value)
    if isinstance(value, list):
        return tuple(_text(choice, name, where) for choice in value)
    raise SFTKeyError(f"{where}: {name!r} must be a list of strings, found {kind_name(value)}")


def _written_list(text: str) -> Any:
    """The list that a text writes out as JSON or pandas does, else the text."""
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                return read(text)
    return text
