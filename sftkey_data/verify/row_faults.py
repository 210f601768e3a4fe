"""What is wrong with one row of a shard, in words: decided with the template and the reference tokenizer alone."""

from collections.abc import Sequence
from typing import Any

from sftkey_data.format.marks import Malformed, Spans
from sftkey_data.format.template import Template
from sftkey_data.schema import (
    CHARACTER_SPANS,
    PROMPT_NOT_PREFIX,
    STRADDLES_KEY_END,
    STRADDLES_KEY_START,
    TOKEN_BORDERS,
)
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_data.verify.token_regions import encode, expected_numbers


def row_faults(
    rows: Sequence[dict[str, Any]], template: Template, encoder: Encoder | None, *, full: bool
) -> list[str | None]:
    """The first fault of each row; None for a row that is in order.

    Args:
        rows: As `to_pylist` gives them.
        template: Of the build.
        encoder: The reference; None for rows without tokens.
        full: Also encode every row again and compare ids and borders.
    """
    return [_row_fault(row, template, encoder, full=full) for row in rows]


def _row_fault(row: dict[str, Any], template: Template, encoder: Encoder | None, *, full: bool) -> str | None:
    try:
        spans = template.locate(row["completion"])
    except Malformed as malformed:
        return f"the completion does not parse: {malformed.code}"
    fault = _text_fault(row, spans)
    if fault is None and encoder is not None:
        fault = _token_fault(row, encoder)
        if fault is None and full:
            fault = _encoding_fault(row, encoder, spans)
    return fault


def _text_fault(row: dict[str, Any], spans: Spans) -> str | None:
    """The row must state the spans that the template finds, and the gold must stand at the Key's."""
    for name in CHARACTER_SPANS:
        if getattr(spans, name) != row[name]:
            return f"{name} is {row[name]}, the template finds {getattr(spans, name)}"
    if row["completion"][spans.key_start : spans.key_end] != row["gold"]:
        return f"the Key's span holds {row['completion'][spans.key_start : spans.key_end]!r}, gold is {row['gold']!r}"
    return None


def _token_fault(row: dict[str, Any], encoder: Encoder) -> str | None:
    """What can be told without encoding: the order of the borders, one EOS, and what the ids decode to."""
    ids = row["input_ids"]
    borders = [0, *(row[name] for name in TOKEN_BORDERS), len(ids)]
    if borders != sorted(borders) or row["key_token_start"] == row["key_token_end"]:
        return f"token borders out of order: {borders}"
    if ids[row["answer_token_end"] :] != [encoder.eos_token_id]:
        return f"expected one EOS ({encoder.eos_token_id}) after the answer, found {ids[row['answer_token_end'] :]}"
    if encoder.eos_token_id in ids[row["prompt_tokens"] : -1]:
        return f"the EOS ({encoder.eos_token_id}) stands inside the completion"
    if min(ids) < 0:
        return f"{min(ids)} is no token id"
    key, golds = encoder.decode(ids[row["key_token_start"] : row["key_token_end"]]), _writings(row["gold"], encoder)
    straddles = row["straddle"] & (STRADDLES_KEY_START | STRADDLES_KEY_END)
    if not (key.strip() in golds or (straddles and any(gold in key for gold in golds))):
        return f"the Key's tokens decode to {key!r}, gold is {row['gold']!r}"
    begun = len(encoder.prefix) if ids[: len(encoder.prefix)] == encoder.prefix else 0  # a BOS stands for no text
    if encoder.decode(ids[begun:-1]).strip() not in _writings(row["prompt"] + row["completion"], encoder):
        return "the ids do not decode to prompt + completion"
    return None


def _writings(text: str, encoder: Encoder) -> set[str]:
    """How decoded tokens may write a text: as it is, normalised, or without what special tokens swallow.

    White space at its ends is lost by some decoders.
    """
    return {text.strip(), encoder.normalized(text).strip(), encoder.decodable(text.strip())}


def _encoding_fault(row: dict[str, Any], encoder: Encoder, spans: Spans) -> str | None:
    text = row["prompt"] + row["completion"]
    (ids, tokens), (alone, _) = encode([text, row["prompt"]], encoder, row["input_ids"][:-1])
    own = [(len(row["prompt"]) + start, len(row["prompt"]) + end) for start, end in (spans[:2], spans[3:])]
    for index, (start, end) in zip(ids, tokens, strict=True):
        if index in encoder.control_ids and any(start < stop and end > begin for begin, stop in own):
            return f"the control token {encoder.decode([index])!r} stands in the CoT or the Key"
    if [*ids, encoder.eos_token_id] != row["input_ids"]:
        return "the tokenizer gives other ids"
    expected = expected_numbers(tokens, len(row["prompt"]), spans)
    if expected is None:
        return "no token touches the Key"
    if alone != ids[: expected["prompt_tokens"]]:
        expected["straddle"] |= PROMPT_NOT_PREFIX
    if not 0 < expected["prompt_tokens"] <= expected["cot_token_end"]:
        return f"the prompt ends at token {expected['prompt_tokens']}, the CoT at {expected['cot_token_end']}"
    for name in (*TOKEN_BORDERS, "straddle"):
        if expected[name] != row[name]:
            return f"{name} is {row[name]}, the tokenizer gives {expected[name]}"
    return None
