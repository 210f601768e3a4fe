"""`sftkey-data map`: a `mine.toml` for a table, tried on the rows that it was made from."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Parts, Reject, Row
from sftkey_data.format.boxes import boxed_texts
from sftkey_data.format.key_type import is_letter, is_number, is_truth
from sftkey_data.mapping.toml_mapping import ColumnMapping
from sftkey_data.proposal.column_roles import (
    COT_NAMES,
    MOST_ROWS,
    Column,
    columns_of,
    context_of,
    cot_of,
    key_of,
    prompt_of,
    share_of,
    turns_of,
)
from sftkey_data.proposal.options_found import FoundOptions, option_named, options_among
from sftkey_data.sources.readers import Record
from sftkey_data.sources.source import find_source, read_source

ROWS_LOOKED_AT = 100
MAX_SHOWN_REASONS, MAX_SHOWN_TEXT = 5, 100
KEY_MARKS = {
    r"####\s*(.+)": r"(?s)^(.*)####",
    r"(?i)the (?:final )?answer is:?\s*(.+?)\.?\s*$": r"(?si)^(.*)the (?:final )?answer is",
    r"(?im)^\s*answer:\s*(.+)$": r"(?si)^(.*)answer:",
}
"""How a Key is marked within a longer text, and the CoT before it."""

FORMULA = re.compile(r"\\[a-z]+|\^|[\d)]\s*[*/+=-]\s*[\w(\\]")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mapping, what became of the rows with it, and what it leaves aside."""

    source: str
    mapping: Mapping[str, Any]
    num_rows: int
    rejects: tuple[tuple[Record, Reject], ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]
    example: Parts | None

    @property
    def num_read(self) -> int:
        """Rows of which it made parts."""
        return self.num_rows - len(self.rejects)


def propose(name: str, split: str | None = None) -> Proposal:
    """Look at the first 100 rows of a file, folder or hub id.

    Raises:
        SFTKeyError: It cannot be read or is empty, it is a chat, or no column looks like a prompt or a Key.
    """
    records = list(islice(read_source(find_source(name, split)), ROWS_LOOKED_AT))
    usable = [record for record in records if isinstance(record.row, dict)]
    if not usable:
        raise SFTKeyError(f"{name}: no row to look at, expected rows with named columns")
    columns = columns_of([record.row for record in usable])
    if (turns := turns_of(columns)) is not None:
        raise SFTKeyError(
            f"{name}: column {turns.name!r} holds the turns of a chat, which need no mapping:"
            f" sftkey-data build chat --input {name} --out DIR"
        )
    mapping, notes = _mapping(name, columns)
    made, rejects = _tried(mapping, records)
    used = ColumnMapping.model_validate(mapping)
    named = {*used.prompt.named, *used.cot.named, *used.key.named, *(used.choices.named if used.choices else ())}
    unused = tuple(column.name for column in columns if column.name not in named)
    return Proposal(name, mapping, len(records), tuple(rejects), unused, tuple(notes), made[0] if made else None)


def _mapping(name: str, columns: Sequence[Column]) -> tuple[dict[str, Any], list[str]]:
    """The tables of the TOML file, and what to say of them."""
    left, notes, mapping = list(columns), list[str](), dict[str, Any]()

    def take(column: Column) -> Column:
        left.remove(column)
        return column

    choices = options_among(left)
    for column in choices.columns if choices is not None else ():
        take(column)
    found = prompt_of(left)
    if found is None:
        raise SFTKeyError(f"{name}: no column looks like the prompt; found {_names(columns)}: write mine.toml by hand")
    prompt = take(found)
    key = key_of(left)
    if key is not None:
        take(key)
    context = context_of(left)
    if context is not None:
        take(context)
    cot = cot_of(left)
    if key is not None and cot is None and _marked(key) is not None:
        key, cot = None, key  # one column holds both
    mapping["prompt"] = prompt.name if context is None else {"columns": [context.name, prompt.name], "join": "\n\n"}
    if key is not None:
        mapping["cot"] = _cot(cot, notes)
        mapping["key"] = _key(key, choices, notes)
    elif cot is not None and (marked := _marked(cot)) is not None:
        mapping["cot"], mapping["key"] = marked
    else:
        raise SFTKeyError(f"{name}: no column looks like the Key; found {_names(columns)}: write mine.toml by hand")
    if choices is not None:
        mapping["choices"] = dict(choices.table)
        mapping["list_choices"] = True
        notes.append("the prompt lists the options: drop list_choices where it has them already")
    keys = key.texts if key is not None else []
    mapping["answer_type"] = "choice" if "option" in mapping["key"] else _answer_type(mapping, columns, keys)
    return mapping, notes


def _cot(cot: Column | None, notes: list[str]) -> Any:
    if cot is None:
        notes.append("no column looks like a CoT: the model learns to write what `missing` says")
        return {"missing": "No reason is given."}
    if not cot.is_named(COT_NAMES):
        notes.append(f"no column has a name of a CoT; {cot.name} is the longest text that is left")
    without = sum(1 for value in cot.values if value is None or value == "" or value == [])
    if without:
        notes.append(f"{without} rows have no {cot.name}: they are rejects unless cot has a `missing`, see the docs")
    return {"column": cot.name, "join": "\n"} if cot.is_list else cot.name


def _key(key: Column, choices: FoundOptions | None, notes: list[str]) -> Any:
    if choices is not None and (option := option_named(key, choices)):
        if option == "index" and "0" not in key.texts:
            notes.append('key: no row names option 0, so it may be option = "number"')
        return {"column": key.name, "option": option}
    if (pattern := _mark(key)) is not None:
        return {"column": key.name, "regex": pattern, "take": "last"}
    if share_of(key.texts, boxed_texts) >= MOST_ROWS:
        return {"column": key.name, "boxed": True, "take": "last"}
    if prefix := _prefix(key.texts):
        return {"column": key.name, "regex": f"{re.escape(prefix)}\\s*(.+)"}
    return key.name


def _marked(cot: Column) -> tuple[Any, Any] | None:
    """CoT and Key of one column that holds both."""
    if (pattern := _mark(cot)) is not None:
        key = {"column": cot.name, "regex": pattern, "take": "last"}
        return {"column": cot.name, "regex": KEY_MARKS[pattern], "take": "first"}, key
    if share_of(cot.texts, boxed_texts) >= MOST_ROWS:
        return cot.name, {"column": cot.name, "boxed": True, "take": "last"}
    return None


def _mark(column: Column) -> str | None:
    """The pattern of what marks the Key in most rows of a column."""
    shares = {pattern: share_of(column.texts, re.compile(pattern).search) for pattern in KEY_MARKS}
    return next((pattern for pattern, share in shares.items() if share >= MOST_ROWS), None)


def _prefix(texts: Sequence[str]) -> str:
    """What most texts of a column begin with, as `Result: `."""
    found = (re.match(r"[A-Za-z][\w ]*[:=]\s*(?=\S)", text) for text in texts)
    common = Counter(one[0].rstrip() for one in found if one is not None).most_common(1)
    return common[0][0] if common and common[0][1] >= MOST_ROWS * len(texts) else ""


def _answer_type(mapping: Mapping[str, Any], columns: Sequence[Column], keys: Sequence[str]) -> str:
    """By the Keys that the mapping reads."""
    rows = [{column.name: column.values[n] for column in columns} for n in range(len(columns[0].values))]
    made, _ = _tried(mapping, [Record("", n, row) for n, row in enumerate(rows)])
    keys = [parts.key.strip() for parts in made] or list(keys)
    if share_of(keys, is_letter) >= MOST_ROWS:
        return "choice"
    if share_of(keys, is_truth) >= MOST_ROWS:
        return "boolean"
    if share_of(keys, is_number) == 1:
        return "number"
    if share_of(keys, lambda key: FORMULA.search(key) or is_number(key)) >= MOST_ROWS:
        return "math"
    return "text"


def _tried(mapping: Mapping[str, Any], records: Sequence[Record]) -> tuple[list[Parts], list[tuple[Record, Reject]]]:
    """What the mapping makes of the rows."""
    used, made, rejects = ColumnMapping.model_validate(mapping), list[Parts](), list[tuple[Record, Reject]]()
    for record in records:
        try:
            made.append(_read(used, record.row))
        except Reject as reject:
            rejects.append((record, reject))
    return made, rejects


def _read(mapping: ColumnMapping, row: Row) -> Parts:
    if not isinstance(row, dict):
        raise Reject("broken_row", "the row cannot be read as columns")
    parts = mapping.extract(row)
    for name in ("prompt", "cot", "key"):
        if not getattr(parts, name).strip():
            raise Reject(f"empty_{name}", f"the {name} is blank")
    return parts


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


def proposal_text(proposal: Proposal) -> str:
    """The TOML file, with what was found as comments."""
    lines = [f"# Proposed by `sftkey-data map` from the first {proposal.num_rows} rows of {proposal.source};"]
    lines.append(f"# {proposal.num_read} of them are read. Look at each line, and change what is not meant so.")
    reasons = Counter(reject.reason for _, reject in proposal.rejects)
    if reasons:
        lines.append("# Not read:")
    for reason, num in reasons.most_common(MAX_SHOWN_REASONS):
        record, first = next((record, reject) for record, reject in proposal.rejects if reject.reason == reason)
        lines.append(f"#   {num} {reason}, the first in row {record.position}: {_short(first.detail)}")
    if proposal.unused:
        lines.append(f"# Columns in no part: {_short(', '.join(proposal.unused))}")
    lines += [f"# Note: {note}" for note in proposal.notes]
    lines += ["", *(f"{name} = {_toml(value)}" for name, value in proposal.mapping.items())]
    if proposal.example is not None:
        lines += ["", "# The first row that is read:"]
        lines += [f"#   {name:6} {_short(getattr(proposal.example, name))}" for name in ("prompt", "cot", "key")]
    return "\n".join(lines)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_SHOWN_TEXT else f"{flat[:MAX_SHOWN_TEXT]}…"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(inner)}' for name, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
