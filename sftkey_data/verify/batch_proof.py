"""Which rows of a batch are certainly in order, by arithmetic on whole columns.

"Certainly" means that `row_faults.row_faults` would find nothing; whatever is not proven here is decided there.
"""

from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.arrays import Bools, Int64s
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import Template
from sftkey_data.schema import CHARACTER_SPANS, PROMPT_NOT_PREFIX, TOKEN_BORDERS
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_data.verify.token_bytes import CheckedBytes


def proven_rows(
    batch: pa.RecordBatch, template: Template, encoder: Encoder | None, alphabet: CheckedBytes | None, *, full: bool
) -> Bools:
    """Whether each row is proven to be in order.

    Args:
        batch: Rows of a shard, without nulls.
        template: Of the build.
        encoder: The reference; None for rows without tokens.
        alphabet: The bytes of its tokens; None proves no row that has tokens.
        full: Also encode every row and every prompt again, and compare.
    """
    if encoder is not None and alphabet is None:
        return np.zeros(batch.num_rows, bool)
    prompts, completions = (batch.column(name).to_pylist() for name in ("prompt", "completion"))
    spans = np.stack([batch.column(name).to_numpy() for name in CHARACTER_SPANS], axis=1).astype(np.int64)
    tag_ends = _cot_tag_ends(completions, batch.column("gold").to_pylist(), spans, template)
    proven: Bools = tag_ends >= 0
    if encoder is None or alphabet is None:
        return proven
    tokens = _Tokens(batch, alphabet, encoder)
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    lengths = np.fromiter(map(len, prompts), np.int64, len(prompts))
    positions = np.concatenate([[lengths], [lengths + column for column in (tag_ends, spans[:, 2], spans[:, 3])]]).T
    proven &= tokens.stand_for(texts, positions)
    if encoder.special_text and (special := encoder.special_tokens) is not None:
        # whether a special token is text or not, is for `row_faults`
        proven &= np.fromiter((special.search(completion) is None for completion in completions), bool, len(texts))
    return proven & tokens.encoded_again(texts, prompts) if full else proven


def _cot_tag_ends(completions: list[str], golds: list[str], spans: Int64s, template: Template) -> Int64s:
    """Where each closing CoT tag ends, where completion, gold and spans agree with what the template reads; else -1."""
    ends = np.full(len(completions), -1, np.int64)
    for row, (completion, gold, span) in enumerate(zip(completions, golds, spans.tolist(), strict=True)):
        try:
            found = template.locate(completion)  # not `render`, whose short cuts the build relies on
        except Malformed:
            continue
        agrees = span == [found.cot_start, found.cot_end, found.key_start, found.key_end]
        if agrees and completion[found.key_start : found.key_end] == gold:
            ends[row] = found.cot_tag_end
    return ends


class _Tokens:
    """The token columns of a batch. `ids[offsets[i]:offsets[i + 1]]` are row i's, EOS included."""

    def __init__(self, batch: pa.RecordBatch, alphabet: CheckedBytes, encoder: Encoder) -> None:
        column = batch.column("input_ids")
        self.ids: NDArray[np.int32] = column.flatten().to_numpy()
        # those of a slice do not begin at 0
        self.offsets: Int64s = column.offsets.to_numpy().astype(np.int64) - column.offsets[0].as_py()
        self.borders: Int64s = np.stack([batch.column(name).to_numpy() for name in TOKEN_BORDERS], axis=1).astype(
            np.int64
        )
        self.straddle: Int64s = batch.column("straddle").to_numpy().astype(np.int64)
        self.alphabet = alphabet
        self.encoder = encoder

    def stand_for(self, texts: list[str], positions: Int64s) -> Bools:
        """Whether each row's tokens are its text and an EOS, with borders and straddle bits where its text has them.

        Args:
            texts: Prompt + completion of each row.
            positions: Shape (rows, 4), in code points of the text: end of the prompt, end of the closing CoT tag, start
                and end of the Key.
        """
        lengths = np.diff(self.offsets)
        known = len(self.ids) > 0 and self.ids.min() >= 0 and self.ids.max() < len(self.alphabet)
        if not known or lengths.min() <= len(self.encoder.prefix):
            return np.zeros(len(texts), bool)
        ends_right = (self.ids[self.offsets[1:] - 1] == self.encoder.eos_token_id) & self._holds_prefix()
        ends_right &= ~self._eos_inside()
        sizes = self.alphabet.sizes(self.ids)
        # BOS and EOS, which stand for no text
        silent = np.concatenate(
            [(self.offsets[:-1, None] + np.arange(len(self.encoder.prefix))).ravel(), self.offsets[1:] - 1]
        )
        sizes[silent] = 0
        audible = np.ones(len(self.ids), bool)
        audible[silent] = False
        token_ends = np.cumsum(sizes)
        begins = np.concatenate(([0], token_ends))[self.offsets]
        lead = self.alphabet.lead
        decoded = self.alphabet.join(self.ids[audible])
        same = _same_bytes([f"{lead.decode()}{text}" for text in texts] if lead else texts, begins, decoded)
        places = _in_bytes(texts, positions) + begins[:-1, None] + len(lead)
        borders, straddle = self._found(token_ends, sizes, places)
        same &= (borders == self.borders).all(axis=1) & (straddle == (self.straddle & ~PROMPT_NOT_PREFIX))
        prompt, cot, first, last = borders[:, 0], borders[:, 1], borders[:, 2], borders[:, 3]
        sound: Bools = ends_right & same & (prompt > 0) & (prompt <= cot) & (first < last)
        return sound

    def _holds_prefix(self) -> Bools:
        prefix = np.array(self.encoder.prefix, np.int32)
        at = self.offsets[:-1, None] + np.arange(len(prefix))
        held: Bools = (self.ids[at] == prefix).all(axis=1)
        return held

    def _eos_inside(self) -> Bools:
        inside = np.zeros(len(self.straddle), bool)
        places = np.flatnonzero(self.ids == self.encoder.eos_token_id)
        rows = np.searchsorted(self.offsets, places, side="right") - 1
        early = (places < self.offsets[rows + 1] - 1) & (places >= self.offsets[rows] + self.borders[rows, 0])
        inside[rows[early]] = True
        return inside

    def _found(self, ends: Int64s, sizes: Int64s, positions: Int64s) -> tuple[Int64s, Int64s]:
        """The borders, shape (rows, 5), counted from each row's first token; and the bits of `straddle`, shape (rows,).

        `ends`, `sizes` and `positions` are in bytes of all texts joined.
        """
        # `inside` clips indices of rows whose Key no token touches; `stand_for` proves none of them
        starts, inside = ends - sizes, len(ends) - 1
        prompt, cot, last = (np.searchsorted(starts, positions[:, column]) for column in (0, 1, 3))
        first = np.searchsorted(ends, positions[:, 2], side="right")
        straddle = (starts[np.minimum(first, inside)] < positions[:, 2]).astype(np.int64)
        straddle |= (ends[np.clip(last - 1, 0, inside)] > positions[:, 3]).astype(np.int64) << 1
        straddle |= (ends[np.clip(prompt - 1, 0, inside)] > positions[:, 0]).astype(np.int64) << 2
        answer = self.offsets[1:] - 1
        return np.stack([prompt, np.minimum(cot, first), first, last, answer], axis=1) - self.offsets[
            :-1, None
        ], straddle

    def encoded_again(self, texts: list[str], prompts: list[str]) -> Bools:
        """Whether the reference gives each row's ids, and the prompt's bit of `straddle`."""
        own = [self.ids[start : stop - 1] for start, stop in pairwise(self.offsets.tolist())]
        same = np.array([np.array_equal(a, b) for a, b in zip(own, _encode(self.encoder, texts), strict=True)], bool)
        alone = _encode(self.encoder, prompts)
        prefixes = [
            np.array_equal(ids[:border], one) for ids, border, one in zip(own, self.borders[:, 0], alone, strict=True)
        ]
        agrees: Bools = np.array(prefixes, bool) == ((self.straddle & PROMPT_NOT_PREFIX) == 0)
        return same & agrees


def _encode(encoder: Encoder, texts: list[str]) -> list[NDArray[np.int32]]:
    """Ids by the reference's tokenizer, whose offsets would cost a fifth more: the tokens' bytes give the same."""
    encodings = encoder.backend.encode_batch_fast(texts, add_special_tokens=encoder.add_special_tokens)
    ids = [encoding.ids for encoding in encodings]
    lengths = np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
    flat = np.fromiter(chain.from_iterable(ids), np.int32, int(lengths[-1]) if len(ids) else 0)
    return np.split(flat, lengths[:-1])


def _same_bytes(texts: list[str], begins: Int64s, joined: NDArray[np.uint8]) -> Bools:
    """Whether the tokens of each row join to exactly its text; one comparison where all do."""
    text = np.frombuffer("".join(texts).encode(), np.uint8)
    if len(text) == len(joined) and np.array_equal(text, joined):
        lengths = _byte_lengths(texts, len(text))
        same: Bools = np.diff(begins) == lengths
        same &= begins[:-1] == np.cumsum(lengths) - lengths
        return same
    return np.array(
        [
            joined[start:stop].tobytes() == one.encode()
            for one, start, stop in zip(texts, begins, begins[1:], strict=False)
        ],
        bool,
    )


def _byte_lengths(texts: list[str], total: int) -> Int64s:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if int(lengths.sum()) == total:
        return lengths
    return np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))


def _in_bytes(texts: list[str], positions: Int64s) -> Int64s:
    """Positions in code points as positions in bytes of UTF-8."""
    positions = positions.copy()
    for row, text in enumerate(texts):
        if not text.isascii():
            positions[row] = [len(text[:position].encode()) for position in positions[row].tolist()]
    return positions
