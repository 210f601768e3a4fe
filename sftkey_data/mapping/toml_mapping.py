r"""A dataset described by a TOML file: which column is which part, and at most one regex per part.

    prompt = "question"
    cot = "working"
    key = { column = "result", regex = '####\s*(.+)$' }
    answer_type = "number"

A regex is searched in the column; the part is its group, or the whole match when it has none.
"""

from pathlib import Path
from typing import Annotated

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sftkey_data.config import read_toml
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.cells import text_or_number
from sftkey_data.extract.multiple_choice import string_list
from sftkey_data.extract.parts import AnswerType, Parts, Reject, Row

MAX_SHOWN_VALUE = 80  # characters of a value in a message
REGEX_SECONDS = 1.0  # per row: a user's pattern may backtrack on a text that nobody has looked at


class ColumnPart(BaseModel):
    """One part: a column, and optionally the regex that finds the part in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    regex: str | None = None

    def read(self, row: Row) -> str:
        """The part's text.

        Raises:
            Reject: The column holds no string, or the regex does not match.
        """
        value = text_or_number(row, self.column)
        if self.regex is None:
            return value
        try:
            found = regex.search(self.regex, value, timeout=REGEX_SECONDS)
        except TimeoutError:
            raise Reject("regex_timeout", f"{self.regex!r} took over {REGEX_SECONDS} s on {self.column}") from None
        if found is None:
            shown = value if len(value) <= MAX_SHOWN_VALUE else f"{value[:MAX_SHOWN_VALUE]}…"
            raise Reject("regex_no_match", f"column {self.column!r}: '{self.regex}' does not match, found {shown!r}")
        return str(found.group(1 if found.re.groups else 0) or "")


def _part(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


Part = Annotated[ColumnPart, BeforeValidator(_part)]


class ColumnMapping(BaseModel):
    """The content of a `mine.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Part
    cot: Part
    key: Part
    answer_type: AnswerType = "text"
    choices: str | None = Field(None, description="Column with the list of option texts.")
    name: str | None = None
    description: str = ""
    input: str | None = Field(None, description="Path, URL or hub id read when --input is not given.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns every row must have."""
        named = [self.prompt.column, self.cot.column, self.key.column, *([self.choices] if self.choices else [])]
        return tuple(dict.fromkeys(named))

    def extract(self, row: Row) -> Parts:
        """Row to parts."""
        return Parts(
            prompt=self.prompt.read(row),
            cot=self.cot.read(row),
            key=self.key.read(row),
            answer_type=self.answer_type,
            choices=self._choices(row),
        )

    def _choices(self, row: Row) -> tuple[str, ...] | None:
        if self.choices is None:
            return None
        return tuple(string_list(row.get(self.choices), self.choices))


def read_mapping(path: Path) -> ColumnMapping:
    """The mapping in a TOML file, its regexes compiled once so that a broken one fails before the first row."""
    mapping = read_toml(path, ColumnMapping, what="dataset")
    for name in ("prompt", "cot", "key"):
        pattern, groups = getattr(mapping, name).regex, 0
        try:
            if pattern is not None:
                groups = regex.compile(pattern).groups
        except regex.error as error:
            raise SFTKeyError(f"{path}: {name}: broken regex '{pattern}': {error}") from None
        if groups > 1:
            raise SFTKeyError(
                f"{path}: {name}: regex '{pattern}' has {groups} groups, expected at most one, around the part:"
                " write the others as (?:…)"
            )
    return mapping
