"""The fast encoder: ids from a quicker implementation of the same vocabulary, offsets from the bytes of its tokens.

A token of a byte-level vocabulary stands for a known run of bytes, so a running sum over the tokens gives every border,
and the joined bytes of a batch compared with the batch's text decode every row back. Whatever this encoder cannot be
sure of (`eligible`, `Encoding.sure`) is left to the reference in `tokenizer`; `compare_encodings` compares the two.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s, Ints
from sftkey_data.schema import PROMPT_NOT_PREFIX, STRADDLES_PROMPT
from sftkey_data.tokens.borders import Borders
from sftkey_data.tokens.id_sources import (
    LINE_PATTERNS,
    IdSource,
    VocabularyBytes,
    find_id_source,
    single_pattern,
    tokenizers_source,
    vocabulary_bytes,
)
from sftkey_data.tokens.tokenizer import Encoder

COMPOSITIONS = ("NFC", "NFD", "NFKC", "NFKD")  # normalisers that leave ASCII as it is
NFC_CHANGES = re.compile(r"[^\x00-\u02ff\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u22ff]")
"""A character that NFC might change or join to the one before it; none of the others, however they follow another.

The others: Latin up to U+02FF, punctuation, currency signs, arrows and mathematical operators.
"""


class Mismatch(Exception):  # noqa: N818 - a finding that switches the encoder, never shown as an error
    """The fast encoder and the reference disagree on a text."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A batch as tokens: `ids[offsets[i]:offsets[i + 1]]` are row i's, BOS included, EOS not.

    `borders` has shape (num_rows, 5), columns as `schema.TOKEN_BORDERS`; `straddle` the bits but the prompt check's.
    `sure` is false for a row that the reference must decide.
    """

    ids: Ints
    offsets: Ints
    borders: Ints
    straddle: Ints
    sure: NDArray[np.bool_]


class FastEncoder:
    """See the module; build one with `find_fast_encoder`."""

    def __init__(self, reference: Encoder, source: IdSource, alphabet: VocabularyBytes) -> None:
        self.name = source.name
        self.reference = reference
        self._source = source
        self._alphabet = alphabet
        self._prefix = reference.prefix
        self._added = _added_tokens(reference, plain=alphabet.sentencepiece)
        normalizer = reference.parts["normalizer"]
        kind = None if normalizer is None else normalizer.get("type")
        self._normalizer = None if alphabet.undoes_normalizer else kind
        self._splits_at_lines = single_pattern(reference.parts["pre_tokenizer"]) in LINE_PATTERNS
        self._ascii_is_stable = self._normalizer in (None, *COMPOSITIONS)

    def eligible(self, texts: list[str]) -> list[int]:
        """Indices of the texts that no normaliser changes, without a byte that no token holds.

        Neither do they hold an added token, but for a SentencePiece vocabulary's plain ones: those are text as others.
        """
        missing = self._source.missing

        def lacks_token(text: str) -> bool:
            return len(text.encode().translate(None, missing)) < len(text.encode())

        incomplete = bool(missing) and lacks_token("".join(texts))
        lead, sentencepiece, added = self._alphabet.lead, self._alphabet.sentencepiece, self._added
        if added is not None and added.search("".join(texts)) is None:
            added = None  # in none of them: one search instead of many
        ascii_is_stable, is_stable = self._ascii_is_stable, self._is_stable
        return [
            index
            for index, text in enumerate(texts)
            if (added is None or added.search(text) is None)
            and ((ascii_is_stable and text.isascii()) or is_stable(text))
            # the tokenizer puts no space before a text that begins with one, and it writes a space as U+2581 itself
            and not (lead and text[:1].isspace())
            and not (sentencepiece and "\u2581" in text)
            and not (incomplete and lacks_token(text))
        ]

    def _is_stable(self, text: str) -> bool:
        if self._normalizer is None or (self._normalizer == "NFC" and NFC_CHANGES.search(text) is None):
            return True
        return self.reference.normalized(text) == text

    def ids(self, texts: list[str]) -> tuple[Ints, Ints]:
        """Ids and offsets of a batch, BOS included where the tokenizer adds one."""
        ids, offsets = self._source.encode(texts)
        if not self._prefix:
            return ids, offsets
        lengths = np.diff(offsets)
        # One BOS, rows at [0, 2, 5]: it is inserted before the old positions 0 and 2, the rows are then at [0, 3, 7].
        ids = np.insert(ids, np.repeat(offsets[:-1], len(self._prefix)), np.tile(self._prefix, len(lengths)))
        return ids, offsets + np.arange(len(offsets)) * len(self._prefix)

    def encode(self, texts: list[str], positions: Ints) -> Encoding:
        """Encode a batch of eligible texts.

        Args:
            texts: Prompt + completion of each row.
            positions: Shape (num_rows, 4), in code points of the text: end of the prompt, end of the closing CoT tag,
                start and end of the Key.
        """
        ids, offsets = self.ids(texts)
        lead = self._alphabet.lead
        blob = "".join(f"{lead}{text}" for text in texts).encode() if lead else "".join(texts).encode()
        lengths, positions = _in_bytes(texts, positions, len(blob), len(lead))
        row_starts = np.concatenate(([0], np.cumsum(lengths)))
        token_ends, decoded = self._alphabet.join(ids)
        begins = np.concatenate(([0], token_ends))[offsets]  # of each row in the decoded bytes
        sure = _decoded_rows(begins, decoded, row_starts, blob)
        borders, straddle = _borders(token_ends, offsets, positions + begins[:-1, None] + len(lead))
        prompt, cot, first, last = borders[:, 0], borders[:, 1], borders[:, 2], borders[:, 3]
        sure &= (first < last) & (prompt > 0) & (prompt <= cot)
        # The reference rejects a row whose completion holds the EOS.
        ended = np.flatnonzero(ids == self.reference.eos_token_id)
        rows = np.searchsorted(offsets, ended, side="right") - 1
        sure[rows[ended >= offsets[rows] + prompt[rows]]] = False
        return Encoding(ids, offsets, borders, straddle, sure)

    def prompts_are_prefixes(self, prompts: list[str], texts: list[str], encoding: Encoding) -> NDArray[np.bool_]:
        """Whether each prompt, encoded alone, gives exactly the first `prompt_tokens` ids of its row.

        Where no pattern looks ahead (SentencePiece), a border between two tokens of the row answers it: tokens only
        grow by merging, so no merge ever crossed that place, and what stands before it was merged as if alone. Where
        the pattern is one of `LINE_PATTERNS`, a prompt that ends a line answers it; any other prompt is encoded.
        """
        if self._alphabet.sentencepiece:
            whole: NDArray[np.bool_] = encoding.straddle & STRADDLES_PROMPT == 0
            return whole
        same = np.ones(len(prompts), np.bool_)
        rows = np.arange(len(prompts))
        if self._splits_at_lines:
            pairs = enumerate(zip(prompts, texts, strict=True))
            rows = np.array([row for row, (prompt, text) in pairs if not _ends_line(prompt, text)], np.int64)
        if len(rows):
            same[rows] = self._are_prefixes([prompts[row] for row in rows.tolist()], rows, encoding)
        return same

    def _are_prefixes(self, prompts: list[str], rows: Int64s, encoding: Encoding) -> NDArray[np.bool_]:
        """Of the prompts of these rows, by encoding them."""
        ids, offsets = self.ids(prompts)
        lengths = np.diff(offsets)
        same: NDArray[np.bool_] = lengths == encoding.borders[rows, 0]
        shared = np.minimum(lengths, np.diff(encoding.offsets)[rows])
        of_prompt = np.repeat(np.arange(len(prompts)), shared)
        within = np.arange(len(of_prompt)) - np.repeat(np.cumsum(shared) - shared, shared)
        other = ids[offsets[of_prompt] + within] != encoding.ids[encoding.offsets[rows[of_prompt]] + within]
        same[of_prompt[other]] = False
        return same


def _ends_line(prompt: str, text: str) -> bool:
    """Whether one line break ends the prompt, after no white space, and none comes after it in the text.

    By `LINE_PATTERNS` a pretoken ends there, in the prompt alone as in the text: no pretoken holds anything but line
    breaks after a line break, and those that look ahead are runs of white space, here of one character. What comes
    before is split by what comes before.
    """
    return (
        prompt[-1:] == "\n"
        and len(text) > len(prompt) > 1
        and not prompt[-2].isspace()
        and not text[len(prompt)].isspace()
    )


def find_fast_encoder(reference: Encoder, *, quickest: bool = True) -> FastEncoder | None:
    """An encoder that takes this tokenizer; None where its tokens' bytes are not known.

    Args:
        reference: What it has to agree with.
        quickest: Its ids come from the quickest library, which takes a second to load; else from the reference's own.
    """
    alphabet = vocabulary_bytes(reference)
    if alphabet is None:
        return None
    source = find_id_source(reference) if quickest and not alphabet.sentencepiece else None
    return FastEncoder(reference, source or tokenizers_source(reference), alphabet)


def compare_encodings(encoding: Encoding, row: int, text: str, ids: list[int], borders: Borders | None) -> None:
    """Compare one row with the reference, the prompt check aside.

    Args:
        encoding: By the fast encoder.
        row: Of the encoding.
        text: For the message.
        ids: By the reference.
        borders: By the reference; None where it rejects the row.

    Raises:
        Mismatch: They differ.
    """
    found = encoding.ids[encoding.offsets[row] : encoding.offsets[row + 1]].tolist()
    if found != ids:
        raise Mismatch(f"other ids for {text[:80]!r}")
    if not encoding.sure[row]:
        return
    if borders is None:
        raise Mismatch(f"borders where the reference finds none for {text[:80]!r}")
    numbers = [borders.prompt_tokens, borders.cot_token_end, borders.key_token_start, borders.key_token_end]
    if encoding.borders[row].tolist() != [*numbers, borders.answer_token_end]:
        raise Mismatch(f"other borders for {text[:80]!r}")
    if int(encoding.straddle[row]) & ~PROMPT_NOT_PREFIX != borders.straddle:
        raise Mismatch(f"other straddle bits for {text[:80]!r}")


def _in_bytes(texts: list[str], positions: Ints, num_bytes: int, lead: int) -> tuple[Ints, Ints]:
    """Length of each row and its positions in bytes; a position is of the text, a length counts the lead too."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + lead
    if int(lengths.sum()) == num_bytes:  # all ASCII: a byte per character
        return lengths, positions
    positions = positions.copy()
    for row, text in enumerate(texts):
        if not text.isascii():
            lengths[row] = len(text.encode()) + lead
            positions[row] = [len(text[:position].encode()) for position in positions[row]]
    return lengths, positions


def _decoded_rows(begins: Ints, decoded: NDArray[np.uint8], row_starts: Ints, blob: bytes) -> NDArray[np.bool_]:
    """Which rows' tokens join to exactly the row's bytes; one comparison where all do."""
    text = np.frombuffer(blob, np.uint8)
    if np.array_equal(begins, row_starts) and np.array_equal(decoded, text):
        return np.ones(len(begins) - 1, bool)
    return np.array(
        [
            np.array_equal(decoded[begins[row] : begins[row + 1]], text[row_starts[row] : row_starts[row + 1]])
            for row in range(len(begins) - 1)
        ]
    )


def _borders(token_ends: Ints, offsets: Ints, positions: Ints) -> tuple[Ints, Ints]:
    """`borders.token_borders` for a batch: borders of shape (num_rows, 5), counted from each row's first token.

    Args:
        token_ends: Of all tokens of the batch, in bytes of the joined text.
        offsets: Where each row's tokens begin, shape (num_rows + 1,).
        positions: Shape (num_rows, 4), in bytes of the joined text; columns as in `FastEncoder.encode`.
    """
    starts = np.concatenate(([0], token_ends[:-1])) if len(token_ends) else token_ends
    prompt, cot, first, last = (
        np.searchsorted(starts, positions[:, 0]),
        np.searchsorted(starts, positions[:, 1]),
        np.searchsorted(token_ends, positions[:, 2], side="right"),
        np.searchsorted(starts, positions[:, 3]),
    )
    inside = len(token_ends) - 1  # clips indices of rows whose Key no token touches; these rows are never `sure`
    # The schema's bits: 1 for the Key's start, 1 << 1 for its end, 1 << 2 for the prompt's end.
    straddle = (starts[np.minimum(first, inside)] < positions[:, 2]).astype(np.int64)
    straddle |= (token_ends[np.clip(last - 1, 0, inside)] > positions[:, 3]).astype(np.int64) << 1
    straddle |= (token_ends[np.clip(prompt - 1, 0, inside)] > positions[:, 0]).astype(np.int64) << 2
    borders = np.stack([prompt, np.minimum(cot, first), first, last, offsets[1:]], axis=1) - offsets[:-1, None]
    return borders, straddle


def _added_tokens(reference: Encoder, *, plain: bool) -> re.Pattern[str] | None:
    """Finds added tokens; with `plain` none of those that are text as others, as Gemma's line breaks."""
    tokens = reference.tokenizer.added_tokens_decoder.values()
    contents = {str(token.content) for token in tokens if not (plain and _is_plain(token))}
    if not plain:
        contents |= {token["content"] for token in reference.parts["added_tokens"]}
    contents |= {reference.normalized(content) for content in contents}
    contents.discard("")
    return re.compile("|".join(map(re.escape, sorted(contents)))) if contents else None


def _is_plain(token: Any) -> bool:
    """Whether an added token stands for its own text and nothing beside it."""
    return not (token.special or token.lstrip or token.rstrip or token.single_word)
