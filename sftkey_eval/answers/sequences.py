r"""Tuples, intervals, sets and comma lists: which brackets, which elements."""

import re
from dataclasses import dataclass

from sftkey_eval.answers.markup import compact, plain

_OPENING, _CLOSING = "([{", ")]}"
_SET = re.compile(r"\\\{(.*)\\\}", re.DOTALL)
_TURNED = re.compile(r"([(\[\]])([^\[\]]+)([)\[\]])")
TWO_ENDS = 2
_LIST_MARKS = re.compile(r"\s*(?:[,;，；、\n]|\band\b)(?:\s*\band\b)?\s*")
_QUOTES = " \t\r\n\"'“”‘’`$*"


@dataclass(frozen=True, slots=True)
class Elements:
    r"""Elements in order, and the brackets around them: `()`, `[]`, `(]`, `[)`, `{}`, or an empty string for none."""

    brackets: str
    parts: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        """A tuple or an interval; sets and comma lists are not."""
        return self.brackets not in ("", "{}")

    @property
    def single(self) -> bool:
        """One value without brackets."""
        return not self.brackets and len(self.parts) == 1


def read_elements(text: str) -> Elements | None:
    r"""The elements of a mathematical sequence; a lone value is a list of one. None where an element is missing."""
    return split_elements(compact(text))


def split_elements(text: str) -> Elements | None:
    """`read_elements` of a text that is compact already."""
    brackets, inside = unbracket(text)
    parts = tuple(split_top_level(inside))
    return Elements(brackets, parts) if all(parts) else None


def read_list(text: str) -> Elements | None:
    """The elements of a list in words, with commas, semicolons or `and` between them; None where it is empty."""
    brackets, inside = unbracket(plain(text))
    parts = tuple(part for piece in _LIST_MARKS.split(inside) if (part := piece.strip(_QUOTES)))
    return Elements(brackets, parts) if parts else None


def same_kind(gold: str, predicted: str) -> bool | None:
    """Whether two kinds of brackets may hold the same answer; None where a comma list meets a tuple."""
    ordered = [brackets not in ("", "{}") for brackets in (gold, predicted)]
    if ordered[0] != ordered[1] and "" in (gold, predicted):
        return None
    return gold == predicted or not any(ordered)


def unbracket(text: str) -> tuple[str, str]:
    r"""The brackets around a text, `{}` for `\{…\}` and empty for none, and what is inside."""
    if found := _SET.fullmatch(text):
        return "{}", found.group(1)
    if (half_open := _turned(text)) is not None:
        return half_open
    if len(text) >= 2 and text[0] in _OPENING and text[-1] in _CLOSING and _closing(text) == len(text) - 1:
        return text[0] + text[-1], text[1:-1]
    return "", text


def _turned(text: str) -> tuple[str, str] | None:
    """An interval written as `[1,2[` is, with the brackets that say the same: `[)`, and what is inside."""
    found = _TURNED.fullmatch(text)
    if found is None:
        return None
    opening, closing = "(" if found[1] == "]" else found[1], ")" if found[3] == "[" else found[3]
    turned = (found[1], found[3]) != (opening, closing)
    return (opening + closing, found[2]) if turned and len(split_top_level(found[2])) == TWO_ENDS else None


def _closing(text: str) -> int:
    """Position of the bracket that closes the one at 0. Kinds may differ, as in `(1,2]`."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return position
    return -1


def split_top_level(text: str) -> list[str]:
    """Pieces between the commas and semicolons outside all brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character in ",;" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]
