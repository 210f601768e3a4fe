"""Options that stand in one text: `a ) 3 , b ) 4`, `A. red` and `B. blue` on lines, `(A) red (B) blue`."""

import ast
import re
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

from sftkey_data.extract.parts import Reject

ALPHABETS = (ascii_uppercase, ascii_lowercase, "123456789")
# how a label X is written; after `X.` something other than a letter or digit follows, else `B.C.` would be one
STYLES = (r"\({}\)", r"{}\s*\)", r"{}\s*\.(?![A-Za-z0-9])", r"{}\s*:")
_BORDER = r"(?:^|(?<=[\s,;|]))"
_SEPARATORS = " \t\r\n,;|"
MAX_SHOWN_OPTIONS = 80  # characters of a text in a message


def split_labelled(text: str) -> tuple[str, ...]:
    """The options of a text in which each begins with its label; also of a list that Python or JSON has printed.

    Raises:
        Reject: `bad_options` where the labels are not A, B, C, … (or a, b, … or 1, 2, …) in order, each once.
    """
    if text.lstrip().startswith("[") and (listed := _printed(text)):
        return strip_labels(listed)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and (found := _labels_off(lines)):
        return found
    for alphabet in ALPHABETS:
        for style in STYLES:
            if found := _cut(text, alphabet, style):
                return found
    shown = text if len(text) <= MAX_SHOWN_OPTIONS else f"{text[:MAX_SHOWN_OPTIONS]}…"
    raise Reject("bad_options", f"expected options as 'A. … B. …', each label once and in order, found {shown!r}")


def strip_labels(options: Sequence[str]) -> tuple[str, ...]:
    """A list of options without their labels, which all of them have.

    Raises:
        Reject: `bad_options`.
    """
    if found := _labels_off(options):
        return found
    raise Reject("bad_options", f"expected options as 'A) …', 'B) …', found {list(options)[:3]}")


def _labels_off(options: Sequence[str]) -> tuple[str, ...]:
    """The options without their labels; none where these are not in order or an option is empty."""
    for alphabet in ALPHABETS:
        for style in STYLES:
            labels = [re.match(rf"\s*{style.format(letter)}", text) for letter, text in zip(alphabet, options)]  # noqa: B905
            if len(labels) == len(options) > 1 and all(labels):
                texts = [text[label.end() :].strip() for label, text in zip(labels, options, strict=True) if label]
                return tuple(texts) if all(texts) else ()
    return ()


def _cut(text: str, alphabet: str, style: str) -> tuple[str, ...]:
    """The texts between the labels of one style; none where one stands twice, or where text stands before the first."""
    labels: list[re.Match[str]] = []
    for letter in alphabet:
        found = list(re.finditer(_BORDER + style.format(letter), text))
        if len(found) != 1:
            if found:
                return ()
            break
        labels += found
    starts = [label.start() for label in labels]
    if len(labels) < 2 or starts != sorted(starts) or text[: starts[0]].strip():
        return ()
    ends = [*starts[1:], len(text)]
    texts = [text[label.end() : end].strip() for label, end in zip(labels, ends, strict=True)]
    texts = [*(one.rstrip(_SEPARATORS) for one in texts[:-1]), texts[-1]]
    return tuple(texts) if all(texts) else ()


def _printed(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else []
