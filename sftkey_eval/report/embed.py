"""The examples inside the page: compressed, and long completions by their beginning and end."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

Segment = tuple[str, str]
"""A region (`cot`, `tag`, `key`; `text` where the completion does not parse; `cut` for a note) and its text."""

PAGE_CHARACTERS = 40_000_000
"""About as much text as a browser searches without a pause and a mail attachment bears once it is compressed."""
SHORTEST, LONGEST = 1_500, 20_000  # between these is what a page holds of a region, in characters


def segment_limit(num_completions: int) -> int:
    """How many characters of one region a page with so many completions holds."""
    return max(SHORTEST, min(LONGEST, PAGE_CHARACTERS // max(1, num_completions)))


def abridge(segments: Sequence[Segment], limit: int) -> list[Segment]:
    """Regions longer than `limit` characters as their first two thirds of it, a note, and their last third."""
    kept: list[Segment] = []
    for region, text in segments:
        if len(text) <= limit:
            kept.append((region, text))
            continue
        head, tail = limit - limit // 3, limit // 3
        left_out = f"{len(text) - head - tail:,} characters left out"
        kept += [(region, text[:head]), ("cut", left_out), (region, text[-tail:])]
    return kept


def packed(value: object) -> str:
    """JSON, compressed by gzip, in base64: nothing in it can end a script element; the same value, the same text."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))  # half a surrogate pair stays an escape
    # Without a time in it, so that the same value gives the same text.
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def unpacked(text: str) -> Any:
    """The value that `packed` was given, as JSON has it."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
