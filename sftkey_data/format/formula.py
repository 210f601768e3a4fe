"""Whether an answer of which nothing else is known is mathematics, by its text."""

import re

_MARKED_UP = re.compile(r"\\[A-Za-z]|\w\^|^\$.+\$$", re.DOTALL)
"""A LaTeX command, a power, or signs of mathematics around the whole."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_OPERATION = re.compile(r"[-+*/=<>()\[\],_|]|\d[^\W\d_]|[^\W\d_]\d")
"""What `p - q`, `(3, 4]`, `52_8` and `2k` have and a plain letter has not."""
_DATE = re.compile(r"\d+(?:\s?[-–/.:]\s?\d+)+")


def looks_like_formula(text: str) -> bool:
    """Whether a text has mathematical markup, or no words but an operation.

    A date, a time and a score (`2020-01-05`, `12:30`, `3-1`) do not look like one. A number may.
    """
    if _MARKED_UP.search(text):
        return True
    return bool(_OPERATION.search(text)) and not _WORD.search(text) and not _DATE.fullmatch(text.strip())
