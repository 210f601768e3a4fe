"""From rendered rows to tokens and borders: a batch at a time where the fast encoder is sure, else by the reference."""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from sftkey_data.arrays import Ints
from sftkey_data.extract.parts import Reject
from sftkey_data.format.marks import Spans
from sftkey_data.prepare.own_text import in_completion, refuse_control_tokens
from sftkey_data.prepare.rendered_rows import Columns, Preparation, Refuse, render_row
from sftkey_data.prepare.shorten import shorten_cot
from sftkey_data.schema import PROMPT_NOT_PREFIX, TOKEN_BORDERS
from sftkey_data.tokens import fast_encoder as fast_encoder
from sftkey_data.tokens.borders import Borders, token_borders, with_prompt_bit
from sftkey_data.tokens.fast_encoder import Encoding
from sftkey_data.tokens.special_text import Occurrence, encode_as_text
from sftkey_data.tokens.tokenizer import Encoded, Encoder


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of rows: `ids[offsets[i]:offsets[i + 1]]` are row i's, EOS included.

    `rows` are the rows' indices in their `Columns`. `numbers` has shape (num_rows, 6): a column per border, in the
    order of `schema.TOKEN_BORDERS`, then straddle.
    """

    rows: Ints
    ids: Ints
    offsets: Ints
    numbers: Ints


def tokenize(columns: Columns, recipe: Preparation, refuse: Refuse) -> Tokens:
    """Tokens of all rows that keep them, the others go to the rejects; in the rows' order."""
    texts = columns.texts()
    fast_rows = np.array([] if recipe.fast is None else recipe.fast.eligible(texts), np.int64)
    sure, encoding = _encode_fast(columns, texts, fast_rows, recipe)
    parts: list[Tokens] = []
    if encoding is not None:
        parts.append(_from_encoding(encoding, fast_rows[sure], sure, recipe))
        _compare_sample(columns, texts, fast_rows, encoding, recipe)
    unsure = np.setdiff1d(np.arange(len(texts)), fast_rows[sure]).tolist()
    encoded = _encoder(recipe).encode_batch([texts[row] for row in unsure]) if unsure else []
    if recipe.encoder is not None and recipe.encoder.special_text:
        for position, row in enumerate(unsure):
            if own := _own(columns, row, columns.completions[row], columns.span(row), recipe.encoder):
                encoded[position] = encode_as_text(texts[row], own, recipe.encoder)
    for row, one in zip(unsure, encoded, strict=True):
        try:
            parts.append(_reference_row(columns, row, recipe, one))
        except Reject as reject:
            refuse(columns.indices[row], columns.records[row], reject)
    return _in_order(parts)


def _compare_sample(
    columns: Columns, texts: list[str], fast_rows: Ints, encoding: Encoding, recipe: Preparation
) -> None:
    """Encode a seeded share of the rows, and every one that the fast encoder was not sure of, by the reference too.

    Raises:
        Mismatch: The fast encoding differs.
    """
    indices = np.array(columns.indices, np.uint64)[fast_rows]
    # Fibonacci hashing (Knuth, TAOCP 3, section 6.4), so that the sample follows no pattern of the input: the factor is
    # 2**64 / golden ratio, and the 24 bits kept are the upper ones, which depend on all bits of the index.
    mixed = (indices * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    chosen = np.flatnonzero((mixed % np.uint64(recipe.reference_share) == 0) | ~encoding.sure).tolist()
    rows = fast_rows[chosen].tolist() if chosen else []
    for position, row, encoded in zip(
        chosen, rows, _encoder(recipe).encode_batch([texts[row] for row in rows]), strict=True
    ):
        try:
            borders: Borders | None = token_borders(encoded, len(columns.prompts[row]), columns.span(row))
        except Reject:
            borders = None
        fast_encoder.compare_encodings(encoding, position, texts[row], encoded.ids, borders)


def _encode_fast(
    columns: Columns, texts: list[str], rows: Ints, recipe: Preparation
) -> tuple[NDArray[np.bool_], Encoding | None]:
    """Which of the rows are settled by the fast encoder, and its encoding of all of them."""
    if recipe.fast is None or not len(rows):
        return np.zeros(len(rows), bool), None
    everything = len(rows) == len(texts)
    prompts = columns.prompts if everything else [columns.prompts[row] for row in rows]
    texts = texts if everything else [texts[row] for row in rows]
    encoding = recipe.fast.encode(texts, columns.positions(rows))
    prefixes = recipe.fast.prompts_are_prefixes(prompts, texts, encoding)
    encoding.straddle[~prefixes] |= PROMPT_NOT_PREFIX
    sure = encoding.sure.copy()
    if recipe.straddle == "strict":
        sure &= encoding.straddle == 0
    if recipe.max_tokens is not None:
        sure &= np.diff(encoding.offsets) + 1 <= recipe.max_tokens  # + 1: the EOS counts
    return sure, encoding


def _from_encoding(encoding: Encoding, rows: Ints, sure: NDArray[np.bool_], recipe: Preparation) -> Tokens:
    """The sure rows of an encoding, an EOS put after each."""
    lengths = np.diff(encoding.offsets)
    ids = encoding.ids if sure.all() else encoding.ids[np.repeat(sure, lengths)]
    kept = lengths[sure]
    ends = np.cumsum(kept)
    eos = recipe.encoder.eos_token_id if recipe.encoder is not None else 0
    numbers = np.concatenate([encoding.borders[sure], encoding.straddle[sure, None]], axis=1)
    # Rows of 3 and 2 ids: `ends` is [3, 5], and with an EOS after each the rows are at [0, 4, 7].
    offsets = np.concatenate(([0], ends + np.arange(1, len(ends) + 1)))
    return Tokens(rows, np.insert(ids, ends, eos), offsets, numbers)


def _reference_row(columns: Columns, row: int, recipe: Preparation, encoded: Encoded) -> Tokens:
    """The tokens of one row, or a `Reject`."""
    encoder = _encoder(recipe)
    if recipe.max_tokens is not None and len(encoded.ids) + 1 > recipe.max_tokens:
        encoded = _shortened(columns, row, recipe, encoder, len(encoded.ids) + 1)
    borders = _checked_borders(columns, row, encoded, recipe, encoder)
    ids = np.array([*encoded.ids, encoder.eos_token_id], np.int32)
    return Tokens(np.array([row]), ids, np.array([0, len(ids)]), np.array([astuple(borders)], np.int64))


def _encoder(recipe: Preparation) -> Encoder:
    if recipe.encoder is None:
        raise ValueError("tokens without an encoder")
    return recipe.encoder


def _borders(columns: Columns, row: int, encoded: Encoded, encoder: Encoder) -> Borders:
    """Token borders, with the bit that says that the prompt alone is tokenised otherwise."""
    borders = token_borders(encoded, len(columns.prompts[row]), columns.span(row))
    named = columns.named.get(columns.indices[row], ())
    return with_prompt_bit(borders, encoded, columns.prompts[row], encoder, named)


def _checked_borders(columns: Columns, row: int, encoded: Encoded, recipe: Preparation, encoder: Encoder) -> Borders:
    borders = _borders(columns, row, encoded, encoder)
    if borders.straddle and recipe.straddle == "strict":
        raise Reject("straddle", f"a token crosses a border (bits {borders.straddle}) and the policy is strict")
    if encoder.eos_token_id in encoded.ids[borders.prompt_tokens :]:
        raise Reject("eos_in_completion", "the completion's text holds the EOS token, so generation would stop there")
    prompt, spans = len(columns.prompts[row]), columns.span(row)
    own = {"CoT": spans[:2], "Key": spans[3:]}
    shifted = {name: (prompt + start, prompt + end) for name, (start, end) in own.items()}
    shifted |= {} if recipe.chat is not None else {"prompt": (0, prompt)}
    refuse_control_tokens(columns.text(row), encoded, shifted, encoder)
    _check_decoded(columns, row, encoded, borders, encoder)
    return borders


def _own(columns: Columns, row: int, completion: str, spans: Spans, encoder: Encoder) -> list[Occurrence]:
    """Where prompt + completion name special tokens in the row's own text."""
    prompt = len(columns.prompts[row])
    within = [(prompt + start, prompt + end) for start, end in in_completion(completion, spans, encoder)]
    return [*columns.named.get(columns.indices[row], ()), *within]


def _encoded(columns: Columns, row: int, completion: str, spans: Spans, encoder: Encoder) -> Encoded:
    """The tokens of a row with this completion."""
    own = _own(columns, row, completion, spans, encoder) if encoder.special_text else ()
    return encode_as_text(columns.prompts[row] + completion, own, encoder)


def _check_decoded(columns: Columns, row: int, encoded: Encoded, borders: Borders, encoder: Encoder) -> None:
    """Decode the Key's tokens and find the Key: exactly, or inside them where one straddles; then the whole text."""
    spans = columns.span(row)
    gold = columns.completions[row][spans.key_start : spans.key_end]
    decoded = encoder.decode(encoded.ids[borders.key_token_start : borders.key_token_end])
    if not (encoder.same_text(decoded, gold) or (borders.straddle and encoder.holds_text(decoded, gold))):
        raise Reject("key_not_decoded", f"the Key's tokens decode to {decoded!r}, expected {gold!r}")
    if not encoder.same_text(encoder.decode_text(encoded.ids), columns.text(row)):
        raise Reject("text_not_decoded", "the tokenizer loses characters of this text: its ids decode to another one")


def _shortened(columns: Columns, row: int, recipe: Preparation, encoder: Encoder, num_tokens: int) -> Encoded:
    """Put a shorter CoT into the row and encode it again; the Key is never touched."""
    limit = recipe.max_tokens or 0
    if recipe.too_long != "shorten-cot":
        raise Reject("too_long", f"{num_tokens} tokens, at most {limit} allowed")
    parts = columns.parts[row]

    def rendered(cot: str) -> tuple[str, str, Spans]:
        return render_row(parts._replace(cot=cot), recipe)

    def count(cot: str) -> int:
        _, completion, spans = rendered(cot)
        return len(_encoded(columns, row, completion, spans, encoder).ids) + 1

    cot = shorten_cot(parts.cot.strip(), count, limit)
    columns.prompts[row], columns.completions[row], columns.spans[row] = rendered(cot)
    columns.shortened.add(columns.indices[row])
    return _encoded(columns, row, columns.completions[row], columns.span(row), encoder)


def _in_order(parts: list[Tokens]) -> Tokens:
    """Runs of rows as one, sorted by row."""
    if len(parts) == 1:
        return parts[0]
    width = len(TOKEN_BORDERS) + 1
    if not parts:
        return Tokens(*(np.empty(0, np.int64),) * 2, np.zeros(1, np.int64), np.empty((0, width), np.int64))
    rows = np.concatenate([part.rows for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(lengths[order])))
    # The place of each id in its row: rows of 2 and 3 ids give 0 1 0 1 2.
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths[order])
    gathered = ids[np.repeat(starts[order], lengths[order]) + within]
    return Tokens(rows[order], gathered, offsets, np.concatenate([part.numbers for part in parts])[order])
