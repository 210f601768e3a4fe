"""From character spans to token borders, on the one tokenisation of the whole text."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sftkey_data.extract.parts import Reject
from sftkey_data.format.marks import Spans
from sftkey_data.schema import (
    PROMPT_NOT_PREFIX,
    STRADDLES_KEY_END,
    STRADDLES_KEY_START,
    STRADDLES_PROMPT,
)
from sftkey_data.tokens.special_text import Occurrence, encode_as_text
from sftkey_data.tokens.tokenizer import Encoded, Encoder


@dataclass(frozen=True, slots=True)
class Borders:
    """Token positions where the regions begin, see `schema.REGIONS`; `straddle` is the bit set of the schema."""

    prompt_tokens: int
    cot_token_end: int
    key_token_start: int
    key_token_end: int
    answer_token_end: int
    straddle: int


def token_borders(encoded: Encoded, prompt_length: int, spans: Spans) -> Borders:
    """Borders of one example under the policy `cover`: every token that touches the Key belongs to the Key.

    A token that crosses the prompt's end belongs to the prompt: the model is not asked to predict part of a token. A
    token that crosses the end of the CoT's closing tag belongs to the CoT.

    Args:
        encoded: Tokens of prompt + completion as one text, without the final EOS.
        prompt_length: Code points of the prompt.
        spans: Code-point positions in the completion.

    Raises:
        Reject: `key_without_token` or `borders_out_of_order`.
    """
    key_start, key_end = prompt_length + spans.key_start, prompt_length + spans.key_end
    # Tokens that end at 3, 7 and 9, a Key at [7, 9): bisect_right(ends, 7) = 2, as the one ending at 7 is before it.
    first, last = bisect_right(encoded.ends, key_start), bisect_left(encoded.starts, key_end)
    if first >= last:
        raise Reject("key_without_token", "no token touches the Key")
    prompt_tokens = bisect_left(encoded.starts, prompt_length)
    # `first` bounds it: one token may hold the end of the CoT's tag and touch the Key too, and then it is the Key's.
    cot_token_end = min(bisect_left(encoded.starts, prompt_length + spans.cot_tag_end), first)
    if not 0 < prompt_tokens <= cot_token_end:
        raise Reject("borders_out_of_order", f"prompt ends at token {prompt_tokens}, the CoT at {cot_token_end}")
    straddle = 0
    if encoded.starts[first] < key_start:
        straddle |= STRADDLES_KEY_START
    if encoded.ends[last - 1] > key_end:
        straddle |= STRADDLES_KEY_END
    if encoded.ends[prompt_tokens - 1] > prompt_length:
        straddle |= STRADDLES_PROMPT
    return Borders(prompt_tokens, cot_token_end, first, last, len(encoded.ids), straddle)


def with_prompt_bit(
    borders: Borders, encoded: Encoded, prompt: str, encoder: Encoder, named: Sequence[Occurrence] = ()
) -> Borders:
    """The borders, with `PROMPT_NOT_PREFIX` set where the prompt alone, `named` as text, gives other tokens."""
    alone = encode_as_text(prompt, named, encoder).ids
    if alone == encoded.ids[: borders.prompt_tokens]:
        return borders
    return replace(borders, straddle=borders.straddle | PROMPT_NOT_PREFIX)
