"""Which column of a table is likely the prompt, the CoT or the Key: by its name and by what it holds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from sftkey_data.extract.fields import find_field
from sftkey_data.extract.parts import Reject, Row

PROMPT_NAMES = ("question", "problem", "prompt", "instruction", "query", "task", "q", "input", "stem", "sentence")
BACKGROUND_NAMES = ("context", "passage", "premise", "background", "story", "input", "hint", "body")
COT_NAMES = (
    *("cot", "chain_of_thought", "rationale", "reasoning", "working", "thinking", "thought", "thoughts", "explanation"),
    *("steps", "solution", "why", "reason", "analysis", "justification", "response", "output", "completion", "target"),
)
KEY_NAMES = (
    *("key", "final_answer", "expected_answer", "gold", "ground_truth", "answer_key", "correct_answer", "answer"),
    *("result", "label", "correct", "correct_option", "answer_idx", "final", "target", "a"),
)
TURNS_NAMES = ("messages", "conversations", "conversation", "turns")

MAX_KEY_CHARACTERS = 80  # of the mean: a longer column is no answer by itself
MOST_ROWS = 0.8  # of the rows, for what is said of a column


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or the field of a column that holds objects, with its value in every row (None where it has none)."""

    name: str
    values: tuple[Any, ...]

    @property
    def texts(self) -> list[str]:
        """The values that are texts or numbers and not blank, as texts."""
        plain = [value for value in self.values if isinstance(value, str | int | float)]
        return [text for value in plain if (text := str(value).strip())]

    @property
    def is_text(self) -> bool:
        """Whether most rows have a text or a number there."""
        return len(self.texts) >= MOST_ROWS * len(self.values) or (len(self.texts) > 1 and self.is_only_text)

    @property
    def is_only_text(self) -> bool:
        """Whether no row has anything else there than a text, a number or nothing."""
        return all(value is None or isinstance(value, str | int | float) for value in self.values)

    @property
    def is_list(self) -> bool:
        """Whether most rows have a list of texts or numbers there, with two items or more."""
        lists = [value for value in self.values if isinstance(value, list) and len(value) > 1]
        plain = [one for one in lists if all(isinstance(item, str | int | float) for item in one)]
        return len(plain) >= MOST_ROWS * len(self.values)

    @property
    def characters(self) -> float:
        """The mean length of its texts; 0 without any."""
        return mean(map(len, self.texts)) if self.texts else 0.0

    def rank(self, names: Sequence[str]) -> int:
        """How well its name goes with a role: a place in `names`, those after them where it only holds one."""
        bare = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name.rpartition(".")[2]).lower()
        bare = re.sub(r"[^a-z0-9]+", "_", bare).strip("_")
        if bare in names:
            return names.index(bare)
        words = bare.split("_")
        return next((len(names) + place for place, name in enumerate(names) if name in words), 2 * len(names))

    def is_named(self, names: Sequence[str]) -> bool:
        """Whether its name is, or holds as a word, one of `names`."""
        return self.rank(names) < 2 * len(names)


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """All columns of some rows, in order, and the fields of those that hold objects."""
    names: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            inner = [f"{name}.{key}" for key in value] if isinstance(value, dict) else [str(name)]
            names |= dict.fromkeys(inner)
    return [Column(name, tuple(_value(row, name) for row in rows)) for name in names]


def _value(row: Row, name: str) -> Any:
    try:
        return find_field(row, name)
    except Reject:
        return None


def turns_of(columns: Sequence[Column]) -> Column | None:
    """The column that holds the turns of a chat."""
    for column in columns:
        lists = [value for value in column.values if isinstance(value, list) and value]
        if column.is_named(TURNS_NAMES) and lists and all(isinstance(item, dict) for value in lists for item in value):
            return column
    return None


def prompt_of(columns: Sequence[Column]) -> Column | None:
    """The column that asks: by its name, else the one of which most texts end with a question mark."""
    texts = [column for column in columns if column.is_text]
    named = sorted(
        (column for column in texts if column.is_named(PROMPT_NAMES)), key=lambda column: column.rank(PROMPT_NAMES)
    )
    asking = [one for one in texts if sum(text.endswith("?") for text in one.texts) >= len(one.values) / 2]
    return next(iter([*named, *asking]), None)


def context_of(columns: Sequence[Column]) -> Column | None:
    """A column that stands before the question, where every row has a text in it."""
    whole = [column for column in columns if column.is_text and len(column.texts) == len(column.values)]
    return next((column for column in whole if column.is_named(BACKGROUND_NAMES) and column.characters > 1), None)


def key_of(columns: Sequence[Column]) -> Column | None:
    """The column of short answers, by its name."""
    short = [column for column in columns if column.is_text and column.characters <= MAX_KEY_CHARACTERS]
    named = [column for column in short if column.is_named(KEY_NAMES)]
    return min(named, key=lambda column: column.rank(KEY_NAMES), default=None)


def cot_of(columns: Sequence[Column]) -> Column | None:
    """The column that reasons: by its name, else the longest text."""
    texts = [column for column in columns if column.is_text or column.is_list]
    named = sorted(
        (column for column in texts if column.is_named(COT_NAMES)), key=lambda column: column.rank(COT_NAMES)
    )
    longest = sorted(texts, key=lambda column: -column.characters)
    return next((column for column in [*named, *longest] if column.is_list or column.characters > 1), None)


def share_of(values: Sequence[Any], holds: Any) -> float:
    """The share of the values of which it is so; 0 without any."""
    return sum(bool(holds(value)) for value in values) / len(values) if values else 0.0
