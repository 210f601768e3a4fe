"""Schema version 1 of the prepared shards. Spans, not masks: one tokenisation serves every loss."""

import pyarrow as pa

SCHEMA_VERSION = 1

REGIONS = ("prompt", "cot", "tag", "key", "eos")
"""Every token of `input_ids` is in one region; borders are token positions, half-open:

    prompt [0, prompt_tokens)
    cot    [prompt_tokens, cot_token_end)        up to the end of the closing CoT tag
    tag    [cot_token_end, key_token_start) and [key_token_end, answer_token_end)
    key    [key_token_start, key_token_end)
    eos    [answer_token_end, len(input_ids))

Borders 5, 9, 11, 12, 14 of 15 tokens: prompt 0 to 4, cot 5 to 8, tag 9 and 10, key 11, tag 12 and 13, eos 14.
"""

TEXT_COLUMNS = ("id", "dataset", "split", "prompt", "completion", "gold", "answer_type")
CHARACTER_SPANS = ("cot_start", "cot_end", "key_start", "key_end")
TOKEN_BORDERS = ("prompt_tokens", "cot_token_end", "key_token_start", "key_token_end", "answer_token_end")

# Bits of the column `straddle`, added up: 5 says that a token crosses the Key's start and one the prompt's end.
STRADDLES_KEY_START = 1
STRADDLES_KEY_END = 2
STRADDLES_PROMPT = 4
PROMPT_NOT_PREFIX = 8
"""The prompt encoded alone gives other tokens than the first `prompt_tokens` of `input_ids`."""


def shard_schema(*, tokenized: bool) -> pa.Schema:
    """Arrow schema of a shard; the token columns exist only in a build with a tokenizer."""
    fields = [
        pa.field(name, pa.string(), nullable=False) for name in ("id", "dataset", "split", "prompt", "completion")
    ]
    fields += [
        pa.field("gold", pa.string(), nullable=False),
        pa.field("answer_type", pa.string(), nullable=False),
        pa.field("choices", pa.list_(pa.string()), nullable=True),
    ]
    fields += [pa.field(name, pa.int32(), nullable=False) for name in CHARACTER_SPANS]
    if tokenized:
        fields.append(pa.field("input_ids", pa.list_(pa.int32()), nullable=False))
        fields += [pa.field(name, pa.int32(), nullable=False) for name in TOKEN_BORDERS]
        fields.append(pa.field("straddle", pa.int8(), nullable=False))
    return pa.schema(fields, metadata={"sftkey_schema_version": str(SCHEMA_VERSION)})


STRADDLE_NAMES = {
    STRADDLES_KEY_START: "key_start",
    STRADDLES_KEY_END: "key_end",
    STRADDLES_PROMPT: "prompt",
    PROMPT_NOT_PREFIX: "prompt_not_prefix",
}
