"""KaTeX for a page: its program, its style sheet and its fonts as one text, without anything to fetch.

`katex/` holds version 0.16.47 as it is published, with its licence (MIT). Of the fonts only those that answers use:
what needs another (Fraktur, script, sans serif) is set in one of the browser's.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sftkey_eval.report.embed import packed

_FILES = Path(__file__).parent / "katex"
_FONT_FACE = re.compile(r"@font-face\{[^}]*url\(fonts/([\w-]+\.woff2)\)[^}]*\}")
# A command, or something between dollars that is no sum of money.
_MATHS = re.compile(r"\\[a-zA-Z(\[]|\$[^$\n]*[\\^_=][^$\n]*\$")


def has_maths(examples: Mapping[str, Any]) -> bool:
    """Whether any text of the examples of a page looks like LaTeX."""
    return any(_MATHS.search(text) for text in _texts(examples))


def _texts(examples: Mapping[str, Any]) -> Iterator[str]:
    for item in examples["items"]:
        yield from (item["prompt"] or "", item["gold"] or "", *(item["choices"] or ()))
    for entry in examples["entries"]:
        for outcome in entry["outcomes"]:
            yield from (text for _, text in outcome["segments"])


@cache
def katex_script() -> str:
    """The program, as it has to be for its digest."""
    return (_FILES / "katex.min.js").read_text(encoding="utf-8")


@cache
def katex_packed() -> str:
    """Program and style sheet with the fonts in it, for `unpack` of the page."""
    return packed({"script": katex_script(), "style": _style()})


def _style() -> str:
    return _FONT_FACE.sub(_font_face, (_FILES / "katex.min.css").read_text(encoding="utf-8"))


def _font_face(found: re.Match[str]) -> str:
    """The rule with the font in it; none for a font that is not carried."""
    path = _FILES / "fonts" / found[1]
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return re.sub(r"src:[^}]*", f'src:url(data:font/woff2;base64,{data}) format("woff2")', found[0])
