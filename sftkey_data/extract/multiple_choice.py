"""Multiple choice: how a prompt lists the options, and which text of one is the Key."""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sftkey_data.extract.cells import CellNumber, cell_text
from sftkey_data.extract.parts import Parts, Reject, Row

KeyStyle = Literal["letter", "letter_and_text"]

_LINE_BREAK = re.compile(r"\s*\n\s*")


class ChoiceOptions(BaseModel):
    """Options of every multiple-choice set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: KeyStyle = Field("letter", description="The Key: `letter` (B) or `letter_and_text` (B. text).")


def list_options(question: str, texts: Sequence[str]) -> str:
    """The question, and below it one line `A. text` for each option."""
    lines = (f"{letter}. {one_line(text)}" for letter, text in zip(_letters(texts), texts, strict=True))
    return "\n".join([question.strip(), *lines])


def choice_key(index: int, texts: Sequence[str], style: str) -> str:
    """The Key for the option at `index`: its letter, or the line that lists it.

    Raises:
        Reject: `wrong_choice` where there is no such option.
    """
    letters = _letters(texts)
    if not 0 <= index < len(texts):
        raise Reject("wrong_choice", f"the answer is option {index + 1}, there are {len(texts)}")
    return letters[index] if style == "letter" else f"{letters[index]}. {one_line(texts[index])}"


def choice_index(label: str, labels: Sequence[str]) -> int:
    """Position of an answer's label among the options' labels (`A`, `1`, …).

    Raises:
        Reject: `wrong_choice`.
    """
    known = [known.strip().upper() for known in labels]
    if label.strip().upper() not in known:
        raise Reject("wrong_choice", f"the answer is {label!r}, the options are {', '.join(known)}")
    return known.index(label.strip().upper())


def choice_parts(question: str, cot: str, texts: Sequence[str], index: int, options: ChoiceOptions) -> Parts:
    """The parts of a multiple-choice row."""
    return Parts(
        prompt=list_options(question, texts),
        cot=cot,
        key=choice_key(index, texts, options.key),
        answer_type="choice",
        choices=tuple(map(one_line, texts)),
    )


def labelled_choices(row: Row, column: str = "choices") -> tuple[list[str], list[str]]:
    """Texts and labels of a column such as `{"text": ["red", …], "label": ["A", …]}`.

    Raises:
        Reject: `wrong_type` or `wrong_choices`.
    """
    value = row[column]
    if not isinstance(value, dict):
        raise Reject("wrong_type", f"{column} must hold the lists text and label, found {type(value).__name__}")
    texts, labels = (string_list(value.get(part), f"{column}.{part}") for part in ("text", "label"))
    if len(texts) != len(labels):
        raise Reject("wrong_choices", f"{column} has {len(texts)} texts and {len(labels)} labels")
    return texts, labels


def string_list(value: object, what: str) -> list[str]:
    """The texts of a list of strings or numbers, these as `cells` writes them.

    Raises:
        Reject: `wrong_type` for another kind of list or value; as `cell_text` for a number that has no exact text.
    """
    if not isinstance(value, list) or not all(isinstance(item, str | bool | CellNumber) for item in value):
        raise Reject("wrong_type", f"{what} must be a list of strings, found {type(value).__name__}")
    return [cell_text(item, f"{what} {number}") for number, item in enumerate(value, start=1)]


def one_line(text: str) -> str:
    """An option's text without white space around it; a line break in it becomes a space."""
    return _LINE_BREAK.sub(" ", text.strip())


def _letters(texts: Sequence[str]) -> str:
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise Reject("wrong_choices", f"{len(texts)} options, expected 2 to {len(ascii_uppercase)}")
    if not all(text.strip() for text in texts):
        raise Reject("wrong_choices", "an option is blank")
    return ascii_uppercase[: len(texts)]
