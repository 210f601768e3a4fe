"""Files of completions, made here or elsewhere: JSON lines, read through a map of field names.

The whole file is checked before the first row is scored; every fault names its line.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.parts import ANSWER_TYPES
from sftkey_data.options import Option

CHOICES = "choices"
COLUMN = "Column of the completions file."  # help of a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which column of a completions file holds what; `choices` None means the column `choices` where there is one."""

    completion: Annotated[str, Option(flag="--completion-field", help=COLUMN)] = "completion"
    gold: Annotated[str, Option(flag="--gold-field", help=COLUMN)] = "gold"
    id: Annotated[str, Option(flag="--id-field", help=COLUMN)] = "id"
    choices: Annotated[
        str | None,
        Option(
            flag="--choices-field",
            help="Column with the list of option texts; default: choices, where the file has it.",
        ),
    ] = None


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
        path: JSON lines.
        fields: Where the columns are.
        answer_types: Those that a row may name; whoever scores knows which.

    Raises:
        SFTKeyError: Missing or empty file, broken JSON, a missing column, a repeated id, a value of a wrong type.
    """
    lines: dict[str, int] = {}
    columns: dict[str, None] = {}
    without_id: int | None = None
    for number, row in read_completion_rows(path, "completions"):
        columns |= dict.fromkeys(row)
        if fields.id not in row:
            without_id = without_id or number
            continue
        id_ = _completion(row, fields, answer_types, f"{path} line {number}").id
        if id_ in lines:
            raise SFTKeyError(f"{path} line {number}: id {id_!r} is already on line {lines[id_]}; ids must be unique")
        lines[id_] = number
    if not columns:
        raise SFTKeyError(f"{path}: no rows, expected one JSON object per line")
    # Before a single row without an id: where no row has the column, the flag that names another is what helps.
    _refuse_missing(path, fields, list(columns))
    if without_id is not None:
        raise SFTKeyError(f"{path} line {without_id}: no {fields.id!r}, expected one in every row")
    with path.open("rb") as file:
        return Survey(len(lines), hashlib.file_digest(file, "sha256").hexdigest())


def read_completions(path: Path, fields: Fields, answer_types: Collection[str] = ANSWER_TYPES) -> Iterator[Completion]:
    """Rows in the order of the file.

    Raises:
        SFTKeyError: As `survey_completions`, apart from repeated ids.
    """
    for number, row in read_completion_rows(path, "completions"):
        yield _completion(row, fields, answer_types, f"{path} line {number}")


def read_completion_rows(
    path: Path, what: str, *, numbers_as_text: bool = True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number from 1 and row; blank lines are no rows. Numbers keep their digits, as text, unless told not to.

    Raises:
        SFTKeyError: No such file, or a line that is no JSON object.
    """
    if not path.is_file():
        raise SFTKeyError(f"{what} file not found: {path}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parse(line, f"{path} line {number}", str if numbers_as_text else None)


def _parse(line: bytes, where: str, number: type[str] | None) -> dict[str, Any]:
    try:
        # A byte order mark, as editors on Windows write it, is no part of the row.
        row = json.loads(line.decode("utf-8-sig"), parse_int=number, parse_float=number, parse_constant=number)
    except UnicodeDecodeError as error:
        raise SFTKeyError(f"{where}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise SFTKeyError(f"{where}: JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        raise SFTKeyError(f"{where}: broken JSON at column {error.colno}: {error.msg}") from None
    if not isinstance(row, dict):
        raise SFTKeyError(f"{where}: expected a JSON object, found {_kind(row)}")
    return row


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
        finish_reason=read_text(row, "finish_reason", where),
    )


def read_text(row: Mapping[str, Any], name: str, where: str) -> str | None:
    """A column as text, None where it is null or absent.

    Raises:
        SFTKeyError: It is anything else.
    """
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise SFTKeyError(f"{where}: {name!r} must be a string, found {_kind(value)}")


def _number(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name) or "0"
    # Numbers keep their digits, as text; nine of them fit the int32 of `verdicts.parquet`.
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    raise SFTKeyError(f"{where}: {name!r} must be a whole number from 0 on, found {value!r}")


def read_gold(row: Mapping[str, Any], name: str, where: str) -> str | None:
    """An answer as text: a boolean in words, a list of strings with commas, None where it is null or absent.

    Raises:
        SFTKeyError: It is anything else.
    """
    value = row.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
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
    """Option texts, None where the column is null or absent.

    Raises:
        SFTKeyError: It is no list of strings.
    """
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(choice, str) for choice in value):
        return tuple(value)
    raise SFTKeyError(f"{where}: {name!r} must be a list of strings, found {_kind(value)}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a boolean", str: "a string or number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
