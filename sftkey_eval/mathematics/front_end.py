r"""How a mathematical answer is taken apart before anything is compared: its name, its unit, its members, `\pm`.

The one reading of each, for exact values and for the symbolic rule alike. All texts here are `plain`.
"""

import re
from collections.abc import Iterator

from sftkey_eval.answers.units import read_unit

MAX_TRAILING_WORDS = 5  # of a unit: `square feet per hour`

JOINED = re.compile(r"\s*(?:,|;)?\s*\b(?:or|and)\b\s*", re.IGNORECASE)
"""What joins the members of a list in words."""
INFINITY = re.compile(r"(?<![A-Za-z\\])(?:oo|inf|infinity)(?![A-Za-z])", re.IGNORECASE)
ROW_END = re.compile(r"\\\\(?:\s*\[[^\]]{0,10}\])?|\\cr(?![A-Za-z])")
"""Of a matrix, with the distance to the next row."""

_LETTERS = r"[A-Za-z](?:\s*,\s*[A-Za-z])*+"
_NAME = re.compile(
    rf"\s*(\\?[A-Za-z]++(?:_\{{?\w+\}}?)?'?(?:\s*\(\s*{_LETTERS}\s*\))?|\(\s*{_LETTERS}\s*\)|\|[A-Z]{{2}}\|)"
    r"\s*(?:=(?!=)|\\in(?![A-Za-z])|∈)\s*"
)
RELATION = re.compile(r"[=<>≤≥≠]|\\(?:le|ge|lt|gt|leq|geq|ne|neq|leqslant|geqslant)(?![A-Za-z])")
_PRODUCT = re.compile(r"[a-z]{2}")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])|[±∓]|\+/-|\+-")
_GLUED_UNIT = re.compile(r"(.*[)}])([A-Za-z]{2,}\.?(?:\s*\^\s*\{?[23]\}?)?)", re.DOTALL)


def split_name(text: str) -> tuple[str, str]:
    r"""Name and value of `x = 5`, `f(x) = 5`, `Area = 5`, `x \in (1,2)`; without a name, an empty one and the text.

    A chain such as `x = 2+3 = 5` is a relation and names nothing. `ab = 5` names a product: its letters are sorted.
    """
    found = _NAME.match(text)
    rest = text[found.end() :] if found else ""
    if not found or not rest or RELATION.search(rest):
        return "", text
    name = "".join(found[1].split())
    return "".join(sorted(name)) if _PRODUCT.fullmatch(name) else name, rest


def unit_splits(text: str) -> Iterator[tuple[str, str, str]]:
    """Every way to end a text in a unit, the longest unit first: what precedes it, its name, how it is written."""
    words = text.split(" ")
    for count in range(min(MAX_TRAILING_WORDS, len(words) - 1), 0, -1):
        head, tail = " ".join(words[:-count]).strip(), " ".join(words[-count:]).strip()
        if head and tail and (unit := read_unit(tail, spaced=True)):
            yield head, unit, tail
    if (found := _GLUED_UNIT.fullmatch(text)) and (unit := read_unit(found[2], spaced=True)):
        yield found[1].strip(), unit, found[2]


def both_signs(text: str) -> list[str]:
    r"""The two texts that `\pm` stands for, the upper sign first; without it the text alone."""
    if not _PLUS_MINUS.search(text):
        return [text]
    upper, lower = _PLUS_MINUS.sub(_upper_sign, text), _PLUS_MINUS.sub(_lower_sign, text)
    return [upper.removeprefix("+"), lower]


def _upper_sign(found: re.Match[str]) -> str:
    return "-" if found.group() in ("\\mp", "∓") else "+"


def _lower_sign(found: re.Match[str]) -> str:
    return "+" if found.group() in ("\\mp", "∓") else "-"
