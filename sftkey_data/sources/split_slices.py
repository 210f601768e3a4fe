"""What of a split is read: names and slices as the `datasets` library writes them, `train[:10%]+test[-5:]`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sftkey_data.errors import SFTKeyError

PLAIN_NAME = re.compile(r"[\w.-]+")
EXAMPLES = "expected a split's name, a slice as train[:50], train[-10:] or train[10%:20%], or a sum as train+test"
MAX_INDEX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Window:
    """Rows [start, stop) of the split `base`; to its end where `stop` is None."""

    base: str
    start: int = 0
    stop: int | None = None


def is_sliced(split: str) -> bool:
    """Whether it says more than a name."""
    return PLAIN_NAME.fullmatch(split) is None


def base_names(split: str) -> tuple[str, ...]:
    """The splits that it names, each once, in order.

    Raises:
        SFTKeyError: It is neither a name nor what `datasets` reads as slices and sums.
    """
    if not is_sliced(split):
        return (split,)
    _parsed(split)
    return tuple(dict.fromkeys(re.findall(r"(?:^|\+)\s*([\w.]+)", split)))


def windows_of(split: str, lengths: Mapping[str, int]) -> tuple[Window, ...]:
    """The rows that it names, in order, as `datasets` counts them; empty slices left out.

    Args:
        split: What `base_names` took.
        lengths: Rows of each of these splits.

    Raises:
        SFTKeyError: It names no row.
    """
    try:
        found = _parsed(split).to_absolute(dict(lengths))
    except ValueError as error:  # pct1_dropremainder of less than 100 rows
        raise SFTKeyError(f"--split {split!r}: {error}") from None
    windows = tuple(Window(one.splitname, one.from_, one.to) for one in found if one.from_ < one.to)
    if not windows:
        sizes = ", ".join(f"{name} has {num} rows" for name, num in lengths.items())
        raise SFTKeyError(f"--split {split!r} names no row: {sizes}")
    return windows


def _parsed(split: str):  # type: ignore[no-untyped-def]
    from datasets import ReadInstruction

    if re.search(rf"\d{{{MAX_INDEX_DIGITS + 1}}}", split):
        raise SFTKeyError(f"--split {split!r}: a number of over {MAX_INDEX_DIGITS} digits")
    try:
        return ReadInstruction.from_spec(split)
    except (ValueError, AssertionError) as error:
        said = "" if "Unrecognized" in str(error) else f" ({error})"
        raise SFTKeyError(f"--split {split!r} is not understood{said}: {EXAMPLES}") from None
