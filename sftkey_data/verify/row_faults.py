"""What is wrong with one row of a shard, in words: decided with the template and the reference tokenizer alone."""

from collections.abc import Sequence
from typing import Any

from sftkey_data.extract.parts import Reject
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import Template
from sftkey_data.schema import CHARACTER_SPANS, STRADDLES_KEY_END, STRADDLES_KEY_START, TOKEN_BORDERS
from sftkey_data.tokens.borders import token_borders, with_prompt_bit
from sftkey_data.tokens.tokenizer import Encoded, Encoder


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
    texts = [row["prompt"] + row["completion"] for row in rows]
    again = encoder.encode_batch(texts) if full and encoder is not None else [None] * len(rows)
    return [_row_fault(row, template, encoder, encoded) for row, encoded in zip(rows, again, strict=True)]


def _row_fault(row: dict[str, Any], template: Template, encoder: Encoder | None, encoded: Encoded | None) -> str | None:
    fault = _text_fault(row, template)
    if fault is None and encoder is not None:
        fault = _token_fault(row, encoder)
        if fault is None and encoded is not None:
            fault = _encoding_fault(row, encoded, encoder, template)
    return fault


def _text_fault(row: dict[str, Any], template: Template) -> str | None:
    """The template must find the spans that the row states, and the gold must stand at the Key's."""
    try:
        spans = template.locate(row["completion"])
    except Malformed as malformed:
        return f"the completion does not parse: {malformed.code}"
    for name in CHARACTER_SPANS:
        if getattr(spans, name) != row[name]:
            return f"{name} is {row[name]}, the template finds {getattr(spans, name)}"
    if row["completion"][spans.key_start : spans.key_end] != row["gold"]:
        return f"the Key's span holds {row['completion'][spans.key_start : spans.key_end]!r}, gold is {row['gold']!r}"
    return None


def _token_fault(row: dict[str, Any], encoder: Encoder) -> str | None:
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
    decoded = encoder.decode(ids[row["key_token_start"] : row["key_token_end"]])
    straddles = row["straddle"] & (STRADDLES_KEY_START | STRADDLES_KEY_END)
    if not (encoder.same_text(decoded, row["gold"]) or (straddles and encoder.holds_text(decoded, row["gold"]))):
        return f"the Key's tokens decode to {decoded!r}, gold is {row['gold']!r}"
    text = row["prompt"] + row["completion"]
    if not encoder.same_text(encoder.decode_text(ids[:-1]), text):
        return "the ids do not decode to prompt + completion"
    return None


def _encoding_fault(row: dict[str, Any], encoded: Encoded, encoder: Encoder, template: Template) -> str | None:
    if [*encoded.ids, encoder.eos_token_id] != row["input_ids"]:
        return "the tokenizer gives other ids"
    try:
        borders = token_borders(encoded, len(row["prompt"]), template.locate(row["completion"]))
        borders = with_prompt_bit(borders, encoded, row["prompt"], encoder)
    except Reject as reject:
        return str(reject)
    for name in (*TOKEN_BORDERS, "straddle"):
        if getattr(borders, name) != row[name]:
            return f"{name} is {row[name]}, the tokenizer gives {getattr(borders, name)}"
    return None
