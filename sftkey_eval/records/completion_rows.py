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
from sftkey_eval.records.completion_fields import CHOICES, Fields
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
    """What a first pass over a completions file found."""

    num_rows: int
    sha256: str


def survey_completions(path: Path, fields: Fields, answer_types: Collection[str] = ANSWER_TYPES) -> Survey:
    """Read every row once, so that scoring starts only on a file that can be scored to its end.

    Args:
        path: See `read_row_file`.
        fields: Where the columns are.
        answer_types: Those that a row may name; whoever scores knows which.

    Raises:
        SFTKeyError: Missing or empty file, broken JSON, a missing column, a repeated id, a value of a wrong type.
    """
    places: dict[str, str] = {}
    needed = _needed(fields)
    first: dict[str, Any] = {}
    without_id = ""
    for where, row in read_row_file(path, "completions"):
        first = first or row
        if needed:
            needed = {name: flag for name, flag in needed.items() if lookup(row, name) is MISSING}
        if lookup(row, fields.id) is MISSING:
            without_id = without_id or where
            continue
        id_ = _completion(row, fields, answer_types, where).id
        if id_ in places:
            raise SFTKeyError(f"{where}: id {id_!r} is already in {places[id_]}; ids must be unique")
        places[id_] = where.removeprefix(f"{path} ")
    if not first:
        raise SFTKeyError(f"{path}: no rows, expected one JSON object per line")
    # Before a single row without an id: where no row has the column, the flag that names another is what helps.
    for name, flag in needed.items():
        raise SFTKeyError(f"{path}: {missing_field(first, name)}; {flag} names another")
    if without_id:
        raise SFTKeyError(f"{without_id}: no {fields.id!r}, expected one in every row")
    with path.open("rb") as file:
        return Survey(len(places), hashlib.file_digest(file, "sha256").hexdigest())


def _needed(fields: Fields) -> dict[str, str]:
    """The columns that at least one row must have, and the flags that name others."""
    needed = {fields.id: "--id-field", fields.completion: "--completion-field", fields.gold: "--gold-field"}
    if fields.choices is not None:
        needed[fields.choices] = "--choices-field"
    if fields.finish_reason != Fields().finish_reason:
        needed[fields.finish_reason] = "--finish-reason-field"
    return needed


def read_completions(path: Path, fields: Fields, answer_types: Collection[str] = ANSWER_TYPES) -> Iterator[Completion]:
    """Rows in the order of the file.

    Raises:
        SFTKeyError: As `survey_completions`, apart from repeated ids.
    """
    for where, row in read_row_file(path, "completions"):
        yield _completion(row, fields, answer_types, where)


def _refuse_missing(path: Path, fields: Fields, columns: list[str]) -> None:
    wanted = [(fields.id, "--id-field"), (fields.completion, "--completion-field"), (fields.gold, "--gold-field")]
    if fields.choices is not None:
        wanted.append((fields.choices, "--choices-field"))
    for name, flag in wanted:
        if name not in columns:
            hint = f"{nearest(name, columns)}; found: {', '.join(columns)}; {flag} names another"
            raise SFTKeyError(f"{path}: no column {name!r}{hint}")


def _completion(row: Mapping[str, Any], fields: Fields, answer_types: Collection[str], where: str) -> Completion:
    id_ = read_text(row, fields.id, where)
    if id_ is None:
        raise SFTKeyError(f"{where}: {fields.id!r} must be a string, found null")
    return Completion(
        id=id_,
        item_id=read_text(row, "item_id", where) or id_,
        sample=_number(row, "sample", where),
        dataset=read_text(row, "dataset", where) or "",
        split=read_text(row, "split", where) or "",
        prompt=read_text(row, "prompt", where) or read_text(row, "question", where) or "",
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
