"""One bit of a file is another: its reader refuses it in one line, or gives what it gives of the whole file."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError

SEED = 15


def flipped(content: bytes, num: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The bit, and the content with it; `num` of them at random, else all."""
    bits = range(8 * len(content))
    for bit in bits if num is None or num >= len(bits) else random.Random(SEED).sample(bits, num):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)


def refused_or_same(path: Path, read: Callable[[], Any], num: int | None = None) -> int:
    """How many flips of a file are refused in one line that names it; the file is as it was at the end.

    Raises:
        AssertionError: One is not refused, and gives something else than the whole file.
    """
    content, whole = path.read_bytes(), read()
    outcomes = [_outcome(path, changed, read, whole) for _, changed in flipped(content, num)]
    path.write_bytes(content)
    wrong = [outcome for outcome in outcomes if outcome not in ("refused", "same")]
    assert wrong == []
    return outcomes.count("refused")


def _outcome(path: Path, content: bytes, read: Callable[[], Any], whole: Any) -> str:
    path.write_bytes(content)
    try:
        return "same" if (found := read()) == whole else f"gives {found}"
    except SFTKeyError as error:
        said = str(error)
        return "refused" if path.name in said and len(said.splitlines()) == 1 else said
