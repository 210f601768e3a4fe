"""The marks of a template: what is looked for in a completion, and what a reading of it can say."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["strict", "tolerant", "present"]
"""How much of the format is asked for; what holds at one level holds at those after it.

`strict`: as the template writes it, but for white space around the marks. `tolerant`: CoT and Key can be told without
doubt; text around them and loose spellings of the marks are forgiven, and the full stop after an untagged Key may lack.
`present`: each part is there, closed and not empty, in any order and any number.
"""


class Malformed(Exception):  # noqa: N818 - a finding about a completion, not a fault of the program
    """A completion that does not parse, under a code that is counted in the report."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Spans(NamedTuple):
    """Half-open code-point positions in a completion; `cot_tag_end` is the end of the closing CoT tag."""

    cot_start: int
    cot_end: int
    cot_tag_end: int
    key_start: int
    key_end: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark in a completion, `[start, end)`; its kind is `cot_open`, `cot_close`, `key_open` or `key_close`."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Marks:
    """What reading a completion needs to know of its template.

    Args:
        exact: Finds the marks as they are written, in the group of their kind.
        loose: Finds them in their loose spellings too.
        close: The text after the Key, without the white space around it.
        tagged_cot: The CoT has marks of its own.
        balanced, last, to_end, free_text: As in `template.Template`.
    """

    exact: re.Pattern[str]
    loose: re.Pattern[str]
    close: str
    tagged_cot: bool
    balanced: bool
    last: bool
    to_end: bool
    free_text: bool


def exact_marks(tags: dict[str, str]) -> re.Pattern[str]:
    """A pattern that finds each mark as it was written, in the group of its kind."""
    # Longest first, so that a tag that begins another is not read in its place. Fixed strings: linear time.
    ordered = sorted(tags.items(), key=lambda item: -len(item[1]))
    return re.compile("|".join(f"(?P<{kind}>{re.escape(tag)})" for kind, tag in ordered))


def loose_marks(tags: dict[str, str]) -> re.Pattern[str]:
    """Like `exact_marks`, but case, white space in a mark and attributes of a tag do not count."""
    ordered = sorted(tags.items(), key=lambda item: -len(item[1]))
    return re.compile("|".join(f"(?P<{kind}>{_loose(tag)})" for kind, tag in ordered), re.IGNORECASE)


_TAG = re.compile(r"<\s*(/?)\s*([\w:.-]+)[^<>]*>")


_GAP = r"\s{0,9}"  # bounded, as all repeats here: the cost stays linear


def _loose(tag: str) -> str:
    if found := _TAG.fullmatch(tag):
        attributes = "" if found[1] else r"(?:\s[^<>]{0,200})?"
        return f"<{_GAP}{found[1] and '/' + _GAP}{re.escape(found[2])}{attributes}{_GAP}>"
    words = [re.escape(word) for word in tag.split()]
    return r"\s{1,9}".join(words).removesuffix(r"\{") + (_GAP + r"\{" if tag.endswith("{") else "")
