"""Whether the parts of the format are there at all, in any order and any number: level `present`."""

from collections.abc import Sequence
from itertools import pairwise

from sftkey_data.format.marks import Mark, Marks
from sftkey_data.format.scanner import BRACE, MarkedText, explained, is_blank, line_end


def find_missing(text: MarkedText, finish_reason: str | None) -> str | None:
    """The code of the part that is not there, None where CoT and Key both are; `truncated` as in `find_spans`."""
    if not _missing(text.marks, text.completion, text.exact):
        return None
    missing = _missing(text.marks, text.completion, text.loose)
    return explained(missing, text.marks, finish_reason) if missing else None


def _missing(of: Marks, completion: str, marks: Sequence[Mark]) -> str | None:
    """Which part is not there, by the marks that were found."""
    if not completion or completion.isspace():
        return "empty"
    keys = [mark for mark in marks if mark.kind == "key_open"]
    if of.last and keys:  # earlier ones are text
        marks, keys = [mark for mark in marks if mark.kind != "key_open" or mark is keys[-1]], keys[-1:]
    parts = _key_parts(of, completion, marks, keys)
    rest = _without(completion, _taken(of, completion, marks if of.tagged_cot else keys, parts))
    if missing := _missing_cot(of, rest, marks):
        return missing
    if not parts:
        return "unclosed_key" if keys else "missing_key"
    return None if any(not is_blank(completion, *part) for part in parts) else "empty_key"


def _missing_cot(of: Marks, rest: str, marks: Sequence[Mark]) -> str | None:
    if not of.tagged_cot:
        return "missing_cot" if rest.isspace() else None
    if not any(mark.kind == "cot_open" for mark in marks):
        return "missing_cot"
    regions = _pairs([mark for mark in marks if mark.kind.startswith("cot")])
    if not regions:
        return "unclosed_cot"
    return None if any(not is_blank(rest, *region) for region in regions) else "empty_cot"


def _key_parts(of: Marks, completion: str, marks: Sequence[Mark], keys: list[Mark]) -> list[tuple[int, int]]:
    """Where the closed Keys are, in order."""
    if of.balanced:
        closings = _closings(completion, keys)
        return [(key.end, closings[key.end]) for key in keys if key.end in closings]
    if of.to_end:
        ends = [key.start for key in keys[1:]] + [len(completion)]
        lengths = [line_end(of, completion[key.end : end], 0) for key, end in zip(keys, ends, strict=False)]
        return [(key.end, key.end + length) for key, length in zip(keys, lengths, strict=True)]
    return _pairs([mark for mark in marks if mark.kind.startswith("key")])


def _pairs(marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """What stands between each closing mark and the opening one right before it."""
    return [
        (opened.end, closed.start)
        for opened, closed in pairwise(marks)
        if opened.kind.endswith("open") and closed.kind.endswith("close")
    ]


def _closings(text: str, opened: list[Mark]) -> dict[int, int]:
    """Where the braces that end the marks are closed, by the end of the mark; one never closed is left out."""
    if not opened:
        return {}
    closings: dict[int, int] = {}
    stack = [opened[0].end]
    for found in BRACE.finditer(text, opened[0].end):
        if found.group() == "{":
            stack.append(found.end())
        elif found.group() == "}" and stack:
            closings[stack.pop()] = found.start()
    return closings


def _taken(of: Marks, completion: str, marks: Sequence[Mark], keys: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is no text of a CoT: marks, Keys, and the text that closes a Key."""
    close = of.close
    tails = [(end, end + len(close) * completion.startswith(close, end)) for _, end in keys]
    return sorted([*((mark.start, mark.end) for mark in marks), *keys, *tails])


def _without(text: str, parts: list[tuple[int, int]]) -> str:
    """The text with sorted parts blanked out, so that positions stay."""
    pieces, position = [], 0
    for start, end in parts:
        pieces.append(text[position:start])
        pieces.append(" " * (end - max(start, position)))
        position = max(position, end)
    return "".join([*pieces, text[position:]])
