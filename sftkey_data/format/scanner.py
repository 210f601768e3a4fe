"""Reading a completion: one pass lists every mark of the template, then a decision over that list.

Nothing backtracks, so the cost is linear in the length. A mark is found as it was written; the levels
below strict also look for its loose spellings (`<thinking>`, `< Answer >`, `<answer type="final">`, `\\boxed {`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sftkey_data.format.marks import Malformed, Mark, Marks, Spans
from sftkey_data.once import once

_CUT_OFF = frozenset({"empty", "missing_cot", "unclosed_cot", "missing_key", "unclosed_key"})


class MarkedText:
    """A completion and the marks in it; each spelling is looked for at most once, and only when it is needed."""

    def __init__(self, marks: Marks, completion: str) -> None:
        self.marks = marks
        self.completion = completion

    @once
    def exact(self) -> tuple[Mark, ...]:
        """The marks as the template writes them, in order."""
        return scan(self.marks.exact, self.completion)

    @once
    def loose(self) -> tuple[Mark, ...]:
        """The marks in their loose spellings too, in order."""
        return scan(self.marks.loose, self.completion)


def scan(pattern: re.Pattern[str], completion: str) -> tuple[Mark, ...]:
    """The marks of a completion, in order."""
    return tuple(Mark(str(found.lastgroup), found.start(), found.end()) for found in pattern.finditer(completion))


def find_spans(text: MarkedText, finish_reason: str | None, *, tolerant: bool = False) -> Spans:
    """Where the parts of a completion are, at level `strict` or `tolerant`.

    Raises:
        Malformed: With a code; `truncated` where the token limit explains what is missing.
    """
    try:
        spans = _decide(text, tolerant)
    except Malformed as malformed:
        raise Malformed(explained(malformed.code, text.marks, finish_reason)) from None
    if finish_reason == "length" and is_blank(text.completion, spans.key_end, len(text.completion)):
        raise Malformed("truncated")  # nothing closes the Key, so its last token may be missing
    return spans


def explained(code: str, marks: Marks, finish_reason: str | None) -> str:
    """The code, or `truncated` where the token limit explains it."""
    cut_off = code in _CUT_OFF or (code == "empty_key" and marks.to_end)  # the limit was hit right after the mark
    return "truncated" if finish_reason == "length" and cut_off else code


def _decide(text: MarkedText, tolerant: bool) -> Spans:
    if not text.completion or text.completion.isspace():
        raise Malformed("empty")
    decision = _Decision(text.marks, text.completion, tolerant)
    try:
        return decision.spans(text.exact)
    except Malformed:
        if not tolerant:
            raise
    return decision.spans(text.loose)


@dataclass(frozen=True, slots=True)
class _Decision:
    """The decision over the marks of one completion."""

    of: Marks
    completion: str
    tolerant: bool

    @property
    def _free_text(self) -> bool:
        return self.tolerant or self.of.free_text

    def spans(self, marks: Sequence[Mark]) -> Spans:
        tagged = self.of.tagged_cot
        if self.of.last:
            marks = _keep_last_key(marks)
        kinds = [mark.kind for mark in marks]
        cot_start, cot_tag_start, cot_tag_end = self._cot_borders(marks, kinds)
        opened = marks[kinds.index("key_open")]
        key_start, key_end = self._key_borders(opened, marks[kinds.index("key_open") + 1 :])
        if not tagged:
            cot_tag_start = opened.start
        cot_start, cot_end = strip_span(self.completion, cot_start, cot_tag_start)
        if cot_start == cot_end:
            raise Malformed("empty_cot" if tagged else "missing_cot")
        return Spans(cot_start, cot_end, cot_tag_end if tagged else cot_end, key_start, key_end)

    def _cot_borders(self, marks: Sequence[Mark], kinds: list[str]) -> tuple[int, int, int]:
        """Start of the CoT, start and end of its closing tag; also refuses a wrong order of marks."""
        if not self.of.tagged_cot:
            if "key_open" not in kinds:
                raise Malformed("missing_key")
            return 0, 0, 0
        _refuse_order(kinds)
        opened, closed = marks[0], marks[1]
        if not self.tolerant and not is_blank(self.completion, 0, opened.start):
            raise Malformed("text_before_cot")
        if not self._free_text and not is_blank(self.completion, closed.end, marks[2].start):
            raise Malformed("text_before_key")
        return opened.end, closed.start, closed.end

    def _key_borders(self, opened: Mark, rest: Sequence[Mark]) -> tuple[int, int]:
        of, completion = self.of, self.completion
        if any(mark.kind == "key_open" for mark in rest):
            raise Malformed("repeated_key")
        if of.balanced:
            end = _matching_brace(completion, opened.end)
            close = of.close
            if not (self.tolerant or completion.startswith(close, end)):
                raise Malformed("unclosed_key")
            tail = end + len(close)
        elif of.to_end:
            end = tail = (line_end if self.tolerant else _open_key_end)(of, completion, opened.end)
        else:
            closed = next((mark for mark in rest if mark.kind == "key_close"), None)
            if closed is None:
                raise Malformed("unclosed_key")
            end, tail = closed.start, closed.end
        key_start, key_end = strip_span(completion, opened.end, end)
        if key_start == key_end:
            raise Malformed("empty_key")
        if not of.to_end and not self._free_text and not is_blank(completion, tail, len(completion)):
            raise Malformed("text_after_key")
        return key_start, key_end


def _refuse_order(kinds: list[str]) -> None:
    """Check that the marks are cot_open, cot_close, key_open, … in this order; the first fault names the code."""
    if "cot_open" not in kinds:
        raise Malformed("missing_cot")
    first_cot, first_key = kinds.index("cot_open"), _index(kinds, "key_open")
    if first_key < first_cot:
        raise Malformed("wrong_order")
    if "cot_close" not in kinds:
        raise Malformed("unclosed_cot")
    if first_key == len(kinds):
        raise Malformed("missing_key")
    if kinds.count("cot_open") > 1 or kinds.count("cot_close") > 1:
        raise Malformed("repeated_cot")
    if kinds[:3] != ["cot_open", "cot_close", "key_open"]:
        raise Malformed("wrong_order")


def _open_key_end(marks: Marks, completion: str, start: int) -> int:
    """End of a Key that nothing but the end of the completion closes; it must be one line."""
    close = marks.close
    key_start, end = strip_span(completion, start, len(completion))
    if completion.find("\n", key_start, end) >= 0:
        raise Malformed("text_after_key")
    if close and key_start < end:
        if f"{close} " in completion[key_start:end]:
            raise Malformed("text_after_key")
        if not completion.endswith(close, key_start, end):
            raise Malformed("unclosed_key")
        end -= len(close)
    return end


def line_end(marks: Marks, completion: str, start: int) -> int:
    """End of a Key on the first line after its mark that is not blank, less the closing text and what follows it."""
    close = marks.close
    key_start, end = strip_span(completion, start, len(completion))
    newline = completion.find("\n", key_start, end)
    key_start, end = strip_span(completion, key_start, newline if newline >= 0 else end)
    if close and (closed := completion.find(f"{close} ", key_start, end)) >= 0:
        return closed
    return end - len(close) if close and completion.endswith(close, key_start, end) else end


def _keep_last_key(marks: Sequence[Mark]) -> list[Mark]:
    """Drop every Key mark but the last, and that one too where it lies inside the tagged CoT."""
    keys = [mark for mark in marks if mark.kind == "key_open"]
    others = [mark for mark in marks if mark.kind != "key_open"]
    before_last = [mark.kind for mark in others if keys and mark.start < keys[-1].start]
    if not keys or (before_last == ["cot_open"] and "cot_close" in (mark.kind for mark in others)):
        return others
    return sorted([*others, keys[-1]], key=lambda mark: mark.start)


def _index(kinds: list[str], kind: str) -> int:
    return kinds.index(kind) if kind in kinds else len(kinds)


def is_blank(text: str, start: int, end: int) -> bool:
    """Whether [start, end) holds nothing but white space."""
    return start >= end or not text[start:end].strip()


def strip_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow [start, end) by the white space at both ends."""
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    return (start + left, start + left + len(part.strip())) if part.strip() else (start, start)


BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text: skip the backslash with what follows it


def _matching_brace(text: str, start: int) -> int:
    """Position of the brace that closes the one just before `start`."""
    depth = 1
    for found in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.start()
    raise Malformed("unclosed_key")
