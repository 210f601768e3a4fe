"""One completion read once, at every level of its format."""

from dataclasses import dataclass

from sftkey_data.format.marks import Malformed, Marks, Spans
from sftkey_data.format.presence import find_missing
from sftkey_data.format.scanner import MarkedText, find_spans


@dataclass(frozen=True, slots=True)
class Reading:
    """What a completion holds; each level (see `marks.Level`) is None where the format holds there, else its code.

    Args:
        spans: Where the parts are, at level `strict`; None where it does not hold.
        strict: As the template writes it.
        tolerant: CoT and Key can be told without doubt.
        present: Each part is there.
    """

    spans: Spans | None
    strict: str | None
    tolerant: str | None
    present: str | None


def read(marks: Marks, completion: str, finish_reason: str | None) -> Reading:
    """Read a completion at all levels; a level is only looked at where the one before does not hold."""
    text = MarkedText(marks, completion)
    spans, strict = _spans(text, finish_reason, tolerant=False)
    tolerant = strict and _spans(text, finish_reason, tolerant=True)[1]
    return Reading(spans, strict, tolerant, tolerant and find_missing(text, finish_reason))


def _spans(text: MarkedText, finish_reason: str | None, *, tolerant: bool) -> tuple[Spans | None, str | None]:
    try:
        return find_spans(text, finish_reason, tolerant=tolerant), None
    except Malformed as malformed:
        return None, malformed.code
