"""Making a CoT shorter from the middle, so that an example fits; the Key is never touched."""

import re
from collections.abc import Callable

from sftkey_data.extract.parts import Reject

MARKER = " […] "
LINE_SHARE = 0.1
"""Of the words that would fit, how many are given up so that a cut falls on the end of a line."""

_WORD = re.compile(r"\S+")

Word = tuple[int, int]  # half-open, in code points


def shorten_cot(cot: str, num_tokens: Callable[[str], int], max_tokens: int) -> str:
    """The CoT with as little as possible cut out of its middle, at white space, and a marker in the gap.

    As many words stay at the beginning as at the end (or one more). Where the line ends a few words before the gap, or
    begins a few words after it, the gap grows to that line's border.

    Args:
        cot: What is too long.
        num_tokens: Tokens of the whole example with a given CoT; rendered and encoded, so the count is exact.
        max_tokens: What the example may have at most.

    Raises:
        Reject: `too_long` when not even one word at each end fits.
    """
    words = [found.span() for found in _WORD.finditer(cot)]
    lowest, highest = 2, len(words) - 1  # words kept: at least one at each end, and at least one cut
    best: tuple[str, int] | None = None
    while lowest <= highest:
        kept = (lowest + highest) // 2
        shorter = _join(cot, words, *_halves(kept))
        if num_tokens(shorter) <= max_tokens:
            best, lowest = (shorter, kept), kept + 1
        else:
            highest = kept - 1
    if best is None:
        raise Reject("too_long", f"even with a CoT of two words the example has over {max_tokens} tokens")
    shorter, kept = best
    at_lines = _join(cot, words, *_line_borders(cot, words, *_halves(kept)))
    # Fewer words have fewer tokens but for oddities of a tokenizer: the count decides.
    return at_lines if at_lines == shorter or num_tokens(at_lines) <= max_tokens else shorter


def _halves(kept: int) -> tuple[int, int]:
    return (kept + 1) // 2, kept // 2


def _join(cot: str, words: list[Word], first: int, last: int) -> str:
    """The first and last so many words, with the white space between them as it was."""
    return cot[: words[first - 1][1]] + MARKER + cot[words[len(words) - last][0] :]


def _line_borders(cot: str, words: list[Word], first: int, last: int) -> tuple[int, int]:
    """How many words to keep so that the gap begins and ends with a line, if that costs few of them."""

    def follows_line_end(word: int) -> bool:
        return "\n" in cot[words[word - 1][1] : words[word][0]]

    spare = int(LINE_SHARE * (first + last)) // 2  # at each side of the gap: of 100 words kept, 5
    heads = range(first, max(first - spare, 1) - 1, -1)
    tails = range(last, max(last - spare, 1) - 1, -1)
    return (
        next((kept for kept in heads if follows_line_end(kept)), first),
        next((kept for kept in tails if follows_line_end(len(words) - kept)), last),
    )
