r"""A dataset described by a TOML file: which columns are which part, in a small closed vocabulary.

    prompt = { columns = ["context", "question"], join = "\n\n" }
    cot = "response.steps.0.text"
    key = { column = "result", regex = '####\s*(.+)$' }
    choices = { column = "options", labels = true }    # or ["a", "b", "c"], a column for each
    answer_type = "number"

What is found several times with different texts is a reject, unless `take` says which one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sftkey_data.config import load_toml, validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.cells import cell_text
from sftkey_data.extract.fields import find_field
from sftkey_data.extract.multiple_choice import choice_index, choice_key, list_options, one_line, string_list
from sftkey_data.extract.parts import AnswerType, Parts, Reject, Row
from sftkey_data.format.boxes import boxed_texts
from sftkey_data.mapping.option_text import split_labelled, strip_labels

MAX_SHOWN_VALUE = 80  # characters of a value in a message
MIX_WORD = "source"
"""The tables `[[source]]` make a file a mix of sources, which the room `building` reads."""
REGEX_SECONDS = 1.0  # per row: a user's pattern may backtrack on a text that nobody has looked at


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnPart(_Words):
    """One part: where it stands, and how it is found there."""

    column: str | None = Field(None, description="A column, or a path in it as `a.b.0.c`.")
    columns: tuple[str, ...] = Field((), description="Instead: several, joined.")
    join: str | None = Field(None, description="Between several columns, or the items of a list.")
    regex: str | None = Field(None, description="The part is its group, or the whole match without one.")
    boxed: bool = Field(default=False, description="The part is what stands in \\boxed{…}.")
    take: Literal["only", "first", "last"] | None = Field(None, description="Which match, box or item of a list.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.column is None) == (not self.columns) and not self._may_be_without_column():
            raise ValueError("expected either `column` or `columns`")
        if self.regex is not None and self.boxed:
            raise ValueError("expected `regex` or `boxed`, not both")
        return self

    def _may_be_without_column(self) -> bool:
        return False

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return self.columns if self.column is None else (self.column,)

    def read(self, row: Row) -> str:
        """The part's text.

        Raises:
            Reject: A column holds no text, nothing is found in it, or several different ones are.
        """
        texts, what = self._texts(row), " + ".join(self.named)
        if self.regex is not None:
            return self._taken([found for text in texts for found in self._matches(text, what)], what, "matches")
        if self.boxed:
            found = [content for text in texts for content in boxed_texts(text)]
            if not found:
                raise Reject("missing_key", f"{what} must hold a closed \\boxed{{…}}, found none")
            return self._taken(found, what, "boxes")
        return self._taken(texts, what, "values")

    def _texts(self, row: Row) -> list[str]:
        if self.column is None:
            return [("\n" if self.join is None else self.join).join(_cell(row, name) for name in self.columns)]
        value = find_field(row, self.column)
        if not isinstance(value, list):
            return [_cell(row, self.column)]
        if self.take is None and self.join is None:
            raise Reject("wrong_type", f"{self.column} must be a string, found list: say `take` or `join`")
        if not value:
            raise Reject("empty_list", f"{self.column} holds an empty list")
        texts = string_list(value, self.column)
        return texts if self.join is None else [self.join.join(texts)]

    def _matches(self, text: str, what: str) -> list[str]:
        pattern = self.regex or ""
        try:
            found = list(regex.finditer(pattern, text, timeout=REGEX_SECONDS))
        except TimeoutError:
            raise Reject("regex_timeout", f"{pattern!r} took over {REGEX_SECONDS} s on {what}") from None
        if not found:
            raise Reject("regex_no_match", f"column {what!r}: '{pattern}' does not match, found {_short(text)!r}")
        groups = [str(one.group(1 if one.re.groups else 0) or "") for one in found]
        return [group for group in groups if group.strip()] or groups[:1]  # `.*` matches nothing at a text's end too

    def _taken(self, texts: Sequence[str], what: str, kind: str) -> str:
        different = dict.fromkeys(text.strip() for text in texts)
        if len(different) > 1 and self.take in (None, "only"):
            shown = ", ".join(repr(_short(text)) for text in list(different)[:4])
            raise Reject(f"several_{kind}", f"column {what!r}: {len(different)} different {kind} ({shown}): see `take`")
        return texts[-1 if self.take == "last" else 0]


class CotPart(ColumnPart):
    """The CoT; `missing` is written where a row has none, as no template writes, or reads, an empty one."""

    missing: str | None = Field(None, description="The CoT of a row that has none.")

    def _may_be_without_column(self) -> bool:
        return self.missing is not None and self.column is None and not self.columns

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.missing is not None and not self.missing.strip():
            raise ValueError("`missing` is blank: no template reads an empty CoT back")
        return self

    def read(self, row: Row) -> str:
        """The CoT, or `missing` where the row has none: no column is named, or it is null or blank.

        Raises:
            Reject: As of `ColumnPart`.
        """
        if self.missing is None:
            return super().read(row)
        if not self.named or any(find_field(row, name) is None for name in self.named):
            return self.missing
        found = super().read(row)
        return found if found.strip() else self.missing


class KeyPart(ColumnPart):
    """The Key; with `option` the letter of the option that the column names."""

    option: Literal["index", "number", "letter", "text"] | None = Field(
        None, description="The column holds its index (from 0), number (from 1), letter or text; the Key is its letter."
    )

    def letter(self, row: Row, choices: Sequence[str]) -> str:
        """The letter of the option that the part names.

        Raises:
            Reject: `wrong_choice` where there is no such option, or several are alike.
        """
        found = self.read(row)
        if self.option in ("index", "number"):
            # written out: 1.0 is `1`, and a boolean is no number
            if not (found.strip().isascii() and found.strip().removeprefix("-").isdigit()):
                raise Reject("wrong_type", f"{' + '.join(self.named)} must be an integer, found {_short(found)!r}")
            return choice_key(int(found) - (self.option == "number"), choices, "letter")
        letters = [chr(ord("A") + number) for number in range(len(choices))]
        if self.option == "letter":
            return choice_key(choice_index(found.strip().strip("().:"), letters), choices, "letter")
        alike = [index for index, text in enumerate(choices) if one_line(text) == one_line(found)]
        if len(alike) != 1:
            raise Reject("wrong_choice", f"{len(alike)} options read {_short(found)!r}, expected one")
        return choice_key(alike[0], choices, "letter")


class ChoicesPart(_Words):
    """The options: a list, one text that is split, or a column for each."""

    column: str | None = Field(None, description="A list of options, or a text that holds them.")
    columns: tuple[str, ...] = Field((), description="Instead: one for each, those at the end blank where not needed.")
    labels: bool = Field(default=False, description="Each begins with its label, as `A. red`; labels are cut off.")
    separator: str | None = Field(None, description="Or: what stands between them.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.column is None) == (not self.columns):
            raise ValueError("expected either `column` or `columns`")
        if self.separator is not None and (self.labels or self.columns or not self.separator):
            raise ValueError("`separator` is of one column" if self.columns else "expected `labels` or a `separator`")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return self.columns if self.column is None else (self.column,)

    def read(self, row: Row) -> tuple[str, ...]:
        """The options' texts.

        Raises:
            Reject: `wrong_type` or `bad_options`.
        """
        if self.column is None:
            return self._each(row)
        value = find_field(row, self.column)
        if isinstance(value, str) and self.labels:
            return split_labelled(value)
        if isinstance(value, str) and self.separator is not None:
            texts = tuple(text.strip() for text in value.split(self.separator))
            if len(texts) < 2 or not all(texts):
                raise Reject("bad_options", f"{self.column}: expected options between {self.separator!r}")
            return texts
        if isinstance(value, str):
            raise Reject("wrong_type", f"{self.column} must be a list, found a string: say `labels` or `separator`")
        texts = tuple(string_list(value, self.column))
        return strip_labels(texts) if self.labels else texts

    def _each(self, row: Row) -> tuple[str, ...]:
        """Of one column each; a row with fewer options than columns leaves the last ones blank."""
        values = {name: find_field(row, name) for name in self.columns}
        texts = ["" if value is None else cell_text(value, name).strip() for name, value in values.items()]
        while texts and not texts[-1]:
            texts.pop()
        if len(texts) < 2 or not all(texts):
            blank = self.columns[texts.index("") if "" in texts else len(texts)]
            raise Reject("bad_options", f"column {blank!r} is blank, expected two options or more from the first on")
        return strip_labels(texts) if self.labels else tuple(texts)


def _as_table(value: object) -> object:
    if isinstance(value, list):
        return {"columns": value}
    return {"column": value} if isinstance(value, str) else value


class ColumnMapping(_Words):
    """The content of a `mine.toml`."""

    prompt: Annotated[ColumnPart, BeforeValidator(_as_table)]
    cot: Annotated[CotPart, BeforeValidator(_as_table)]
    key: Annotated[KeyPart, BeforeValidator(_as_table)]
    answer_type: AnswerType = "text"
    choices: Annotated[ChoicesPart | None, BeforeValidator(_as_table)] = None
    list_choices: bool = Field(default=False, description="The prompt lists the options, one `A. text` a line.")
    name: str | None = None
    description: str = ""
    input: str | None = Field(None, description="Path, URL or hub id read when --input is not given.")

    @model_validator(mode="before")
    @classmethod
    def _has_cot(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.keys() <= set(cls.model_fields) and "cot" not in values:
            raise ValueError("key 'cot' is missing; where no row has a CoT, say cot = { missing = \"…\" }")
        return values

    @model_validator(mode="after")
    def _have_choices(self) -> Self:
        for word, used in (("list_choices", self.list_choices), ("key.option", self.key.option is not None)):
            if used and self.choices is None:
                raise ValueError(f"{word} needs `choices`")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns every row must have."""
        cot = () if self.cot.missing is not None else self.cot.named
        choices = self.choices.named if self.choices is not None and not self.choices.columns else ()
        return tuple(dict.fromkeys([*self.prompt.named, *cot, *self.key.named, *choices]))

    @property
    def nullable(self) -> tuple[str, ...]:
        """Columns that may be null in a row, but are there."""
        options = self.choices.columns if self.choices is not None else ()
        return (*(self.cot.named if self.cot.missing is not None else ()), *options)

    def extract(self, row: Row) -> Parts:
        """Row to parts."""
        prompt = self.prompt.read(row)
        choices = self.choices.read(row) if self.choices is not None else None
        key = self.key.letter(row, choices) if self.key.option is not None and choices else self.key.read(row)
        if self.list_choices and choices is not None:
            prompt = list_options(prompt, choices)
        return Parts(prompt=prompt, cot=self.cot.read(row), key=key, answer_type=self.answer_type, choices=choices)


def read_mapping(path: Path) -> ColumnMapping:
    """The mapping in a TOML file, its regexes compiled once so that a broken one fails before the first row.

    Raises:
        SFTKeyError: It is missing, no TOML, or no mapping.
    """
    values = load_toml(path, "dataset")
    if MIX_WORD in values:
        raise SFTKeyError(f"{path}: a mix of sources ([[source]]), expected one dataset")
    if not values.keys() & ColumnMapping.model_fields.keys():
        found = f"found {', '.join(values)}{nearest(next(iter(values)), [MIX_WORD])}" if values else "it is empty"
        raise SFTKeyError(f"{path}: neither a mapping (prompt, cot and key) nor a mix of sources ([[source]]): {found}")
    mapping = validate(values, ColumnMapping, where=str(path))
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


def _cell(row: Row, name: str) -> str:
    value = find_field(row, name)
    return cell_text(value, name)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_VALUE else f"{text[:MAX_SHOWN_VALUE]}…"
