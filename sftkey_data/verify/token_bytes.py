"""Tokens as bytes: a batch of ids joined and cut by arithmetic, without decoding row by row.

The build has arithmetic of its own, see `tokens.id_sources`; what checks a build must not share it.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s
from sftkey_data.tokens.tokenizer import Encoder

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")  # how a SentencePiece vocabulary writes a byte that no other token holds
WORD_START = "\u2581"  # how it writes a space


class CheckedBytes:
    """The bytes of every token of a vocabulary; an added token stands for its text.

    `lead` is what the tokenizer puts before a text: the space of SentencePiece, where the text begins with none.
    """

    def __init__(self, tokens: pa.BinaryArray, lead: bytes = b"") -> None:
        self.lead = lead
        self._tokens = tokens
        self._sizes: NDArray[np.int64] = pc.binary_length(tokens).to_numpy().astype("int64")

    def __len__(self) -> int:
        return len(self._tokens)

    def sizes(self, ids: NDArray[np.int32]) -> Int64s:
        """Bytes of each token."""
        sizes: Int64s = self._sizes[ids]
        return sizes

    def join(self, ids: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The bytes of all tokens, one after the other."""
        joined = self._tokens.take(pa.array(ids))
        _, offsets, data = joined.buffers()
        if data is None:
            return np.empty(0, np.uint8)
        first, last = np.frombuffer(offsets, np.int32)[[joined.offset, joined.offset + len(joined)]]
        return np.frombuffer(data, np.uint8)[first:last]


def checked_bytes(encoder: Encoder) -> CheckedBytes | None:
    """The bytes of a tokenizer's tokens, byte-level or SentencePiece's; None where decoding has rules of its own."""
    parts: dict[str, Any] = encoder.parts
    if parts["model"]["type"] != "BPE":
        return None
    if (parts.get("decoder") or {}).get("type") == "ByteLevel":
        lead = b""
        read: Callable[[str], bytes] = partial(_byte_level, alphabet=_byte_alphabet())
    elif _puts_space_first(parts["pre_tokenizer"] or {}):
        read, lead = _sentence_piece, b" "
    else:
        return None
    tokens = {index: read(token) for token, index in parts["model"]["vocab"].items()}
    for added in parts["added_tokens"]:
        tokens[added["id"]] = str(added["content"]).encode()
    return CheckedBytes(pa.array([tokens.get(index, b"") for index in range(max(tokens) + 1)], pa.binary()), lead)


def _puts_space_first(pre_tokenizer: dict[str, Any]) -> bool:
    kind, first = pre_tokenizer.get("type"), pre_tokenizer.get("prepend_scheme")
    return kind == "Metaspace" and first in ("first", "always") and pre_tokenizer["replacement"] == WORD_START


def _byte_level(token: str, alphabet: dict[int, int]) -> bytes:
    try:
        return token.translate(alphabet).encode("latin-1")
    except UnicodeEncodeError:  # a token that no text gives
        return b""


def _sentence_piece(token: str) -> bytes:
    if byte := BYTE_TOKEN.fullmatch(token):
        return bytes.fromhex(byte[1])
    return token.replace(WORD_START, " ").encode()


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {0x100 + n: byte for n, byte in enumerate(others)} | {byte: byte for byte in printable}
