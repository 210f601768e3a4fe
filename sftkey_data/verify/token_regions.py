"""The region of every token of a row, asked of each token by itself: what the stated borders are compared with.

A build searches sorted offsets for its borders. Here each token is held against what a region is, so that a fault of
the search cannot hide.
"""

from collections.abc import Sequence

from sftkey_data.format.marks import Spans
from sftkey_data.schema import STRADDLES_KEY_END, STRADDLES_KEY_START, STRADDLES_PROMPT
from sftkey_data.tokens.special_text import encode_as_text, occurrences, stated_as_text
from sftkey_data.tokens.tokenizer import Encoder

Characters = tuple[int, int]
"""Code points of a text that a token stands for, half-open; none for a special token."""


def encode(
    texts: Sequence[str], encoder: Encoder, stated: Sequence[int] = ()
) -> list[tuple[list[int], list[Characters]]]:
    """Ids and characters of every text's tokens by the reference, without an EOS that the tokenizer adds itself.

    Args:
        texts: Some that begin alike.
        encoder: The reference.
        stated: Ids of the longest, EOS excluded; they say which special tokens are text where the build wrote such.
    """
    if encoder.special_text and any(occurrences(text, encoder) for text in texts):
        own = stated_as_text(max(texts, key=len), stated, encoder)
        again = [encode_as_text(text, [one for one in own if one[1] <= len(text)], encoder) for text in texts]
        return [(one.ids, list(zip(one.starts, one.ends, strict=True))) for one in again]
    encodings = encoder.backend.encode_batch(list(texts), add_special_tokens=encoder.add_special_tokens)
    found = []
    for text, encoding in zip(texts, encodings, strict=True):
        ids, characters = list(encoding.ids), list(encoding.offsets)
        if ids[-1:] == [encoder.eos_token_id] and characters[-1][0] == characters[-1][1]:
            ids, characters = ids[:-1], characters[:-1]
        found.append((ids, characters if encoder.normalized(text) == text else _whole(characters, len(text))))
    return found


def expected_numbers(tokens: Sequence[Characters], prompt_length: int, spans: Spans) -> dict[str, int] | None:
    """The borders of a row and its `straddle`, by column; None where no token touches the Key.

    The bit `PROMPT_NOT_PREFIX` is left to the caller, as it needs the prompt encoded alone.

    Args:
        tokens: Of prompt + completion, without the final EOS.
        prompt_length: Code points of the prompt.
        spans: Positions in the completion.
    """
    cot_tag_end, key_start, key_end = (
        prompt_length + position for position in (spans.cot_tag_end, spans.key_start, spans.key_end)
    )
    touch = [start < key_end and end > key_start for start, end in tokens]
    if not any(touch):
        return None
    first, behind = touch.index(True), len(touch) - touch[::-1].index(True)
    crossed = {STRADDLES_KEY_START: key_start, STRADDLES_KEY_END: key_end, STRADDLES_PROMPT: prompt_length}
    return {
        "prompt_tokens": sum(start < prompt_length for start, _ in tokens),
        "cot_token_end": sum(start < cot_tag_end for start, _ in tokens[:first]),
        "key_token_start": first,
        "key_token_end": behind,
        "answer_token_end": len(tokens),
        "straddle": sum(bit for bit, at in crossed.items() if any(start < at < end for start, end in tokens)),
    }


def _whole(characters: list[Characters], length: int) -> list[Characters]:
    """Up to where the next token begins: of what NFC joined, an offset names the first character alone."""
    follow = [start for start, _ in characters[1:]] + [length]
    return [(s, max(e, n)) if s < e else (s, e) for (s, e), n in zip(characters, follow, strict=True)]
