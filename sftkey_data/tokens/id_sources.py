"""Where the fast encoder's ids come from: quicker implementations of a vocabulary; and the bytes of its tokens.

fastokens and tiktoken are imported where they are tried: neither runs on every platform.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.arrays import Ints
from sftkey_data.storage.arrow_columns import bytes_column, int_column
from sftkey_data.tokens.fastokens_prefetch import prefetch
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_data.tokens.tokenizer_file import TokenizerFile

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

_SIGNS = r"!-/:-@\[-`{-~\p{P}"  # what `Punctuation` splits off: ASCII's, currency and operators too, and Unicode's
FALCON_PATTERN = (
    rf"[{_SIGNS}]+| ?\p{{L}}+| ?[\p{{Nl}}\p{{No}}]+|[0-9]{{3}}|(?:(?![0-9]{{3}})\p{{Nd}})+| (?=\p{{Nd}})"
    rf"| ?[^\s\p{{L}}\p{{N}}{_SIGNS}]+|\s+(?![^\s{_SIGNS}])|\s+"
)
"""Falcon's four splits one after the other (runs of punctuation, GPT-2's, runs of digits, threes of digits) as one."""
FALCON_SPLITS: list[dict[str, Any]] = [
    {"type": "Punctuation", "behavior": "Contiguous"},
    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    {"type": "Digits", "individual_digits": False},
    {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": False},
]


_CONTRACTIONS, _REST = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LINE_PATTERNS = (
    GPT2_PATTERN,
    FALCON_PATTERN,
    *(rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}|{_REST}" for digits in (r"\p{N}", r"\p{N}{1,3}")),
)
"""Of GPT-2, Falcon, Qwen 2 and 3, and cl100k with Llama 3: a line break stands in no pretoken before anything else."""


@dataclass(frozen=True, slots=True)
class IdSource:
    """Something that turns texts into ids without special tokens.

    Args:
        name: Of the library.
        encode: Ids of all texts in one run, and where each text's begin: `offsets` of shape (num_texts + 1,).
        missing: Bytes that no token of the vocabulary holds alone; a text with one of them is not for this source.
    """

    name: str
    encode: Callable[[list[str]], tuple[Ints, Ints]]
    missing: bytes = b""


class VocabularyBytes:
    """The bytes of every token of a vocabulary, joined for a whole batch at once.

    Args:
        tokens: By id.
        lead: What decoding puts before a text: the space of most SentencePiece vocabularies, nothing for the others.
        sentencepiece: Whether U+2581 stands for a space, and no pattern looks ahead.
        undoes_normalizer: Whether the tokenizer's normaliser does nothing but write spaces so.
    """

    def __init__(
        self, tokens: pa.BinaryArray, lead: str = "", *, sentencepiece: bool = False, undoes_normalizer: bool = False
    ) -> None:
        self.lead = lead
        self.sentencepiece = sentencepiece
        self.undoes_normalizer = undoes_normalizer
        self._tokens = tokens

    def join(self, ids: Ints) -> tuple[Ints, NDArray[np.uint8]]:
        """End of every token in the joined bytes, and the joined bytes: `the`, ` cat` end at 3 and 7 of `the cat`."""
        taken = self._tokens.take(int_column(ids))
        _, ends, data = taken.buffers()
        ends = np.frombuffer(ends, np.int32)[: len(ids) + 1]  # Arrow may hold more memory than it fills
        joined = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        return ends[1:], joined[: int(ends[-1])]


def find_id_source(reference: Encoder) -> IdSource | None:
    """The quickest library that takes a byte-level tokenizer: fastokens first, tiktoken where it refuses."""
    return fastokens_source(reference) or tiktoken_source(reference)


def fastokens_source(reference: Encoder) -> IdSource | None:
    """By fastokens; None where it refuses the tokenizer."""
    try:
        if isinstance(reference.tokenizer, TokenizerFile):
            encoder = prefetch(reference.tokenizer.name_or_path).result()
        else:
            import fastokens

            encoder = fastokens.Tokenizer.from_json_str(reference.backend_json)
    except (ImportError, OSError, ValueError):  # not on this platform, or a part that it does not know
        return None

    def encode(texts: list[str]) -> tuple[Ints, Ints]:
        ids, offsets = encoder.encode_batch_flat(texts)
        return np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    return IdSource("fastokens", encode)


def tiktoken_source(reference: Encoder) -> IdSource | None:
    """Only where one pattern splits the text. `compare_encodings` would show merges in another order than the ids."""
    parts = reference.parts
    pattern = single_pattern(parts["pre_tokenizer"])
    alphabet = _byte_alphabet()
    if pattern is None or parts["model"]["type"] != "BPE":
        return None
    try:
        import tiktoken

        added = {token["content"] for token in parts["added_tokens"]}  # they are not written in the alphabet
        vocabulary = ((token, i) for token, i in parts["model"]["vocab"].items() if token not in added)
        ranks = {token.translate(alphabet).encode("latin-1"): i for token, i in vocabulary}
        encoding = tiktoken.Encoding("reference", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    except (ImportError, ValueError):
        return None
    missing = bytes(byte for byte in range(256) if bytes([byte]) not in ranks)  # tiktoken panics where it meets one
    return IdSource("tiktoken", lambda texts: _flat(encoding.encode_ordinary(text) for text in texts), missing)


def single_pattern(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The pattern that splits a text as all of the pre-tokenizers do; None where it is not known."""
    parts = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer or {}])
    # `trim_offsets` changes what is said of the tokens' places, never the ids
    if [{name: value for name, value in part.items() if name != "trim_offsets"} for part in parts] == FALCON_SPLITS:
        return FALCON_PATTERN
    if [part.get("type") for part in parts] == ["ByteLevel"] and parts[0]["use_regex"]:
        return None if parts[0]["add_prefix_space"] else GPT2_PATTERN
    if [part.get("type") for part in parts] != ["Split", "ByteLevel"] or parts[1]["use_regex"]:
        return None
    return parts[0]["pattern"].get("Regex") if parts[0]["behavior"] == "Isolated" and not parts[0]["invert"] else None


def tokenizers_source(reference: Encoder) -> IdSource:
    """The reference's own library without its offsets, which cost a third of its time."""

    def encode(texts: list[str]) -> tuple[Ints, Ints]:
        return _flat(e.ids for e in reference.backend.encode_batch_fast(texts, add_special_tokens=False))

    return IdSource("tokenizers", encode)


def _flat(rows: Any) -> tuple[Ints, Ints]:
    rows = list(rows)
    offsets = np.concatenate(([0], np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))))
    return np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets


def vocabulary_bytes(reference: Encoder) -> VocabularyBytes | None:
    """Bytes by id for byte-level vocabularies and for SentencePiece ones with byte fallback; None for others."""
    parts = reference.parts
    pre = parts["pre_tokenizer"] or {}
    kinds = [part["type"] for part in pre.get("pretokenizers", [pre] if pre else [])]
    if parts["model"]["type"] != "BPE":
        return None
    vocabulary = {**parts["model"]["vocab"], **{token["content"]: token["id"] for token in parts["added_tokens"]}}
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, index in vocabulary.items():
        tokens[index] = token
    for index in reference.prefix:  # a BOS stands for no text
        tokens[index] = ""
    if "ByteLevel" in kinds:
        if any(p.get("add_prefix_space") for p in pre.get("pretokenizers", [pre]) if p["type"] == "ByteLevel"):
            return None
        return VocabularyBytes(_byte_level(tokens))
    if kinds == ["Metaspace"] and pre["replacement"] == "\u2581" and pre["prepend_scheme"] in ("first", "always"):
        return VocabularyBytes(_metaspace(tokens), " ", sentencepiece=True)
    normalizer = parts["normalizer"] or {}
    lead = _lead(normalizer.get("normalizers", [normalizer]))
    if lead is None or (kinds and pre != _SPLIT_AT_SPACES):
        return None
    return VocabularyBytes(_metaspace(tokens), lead, sentencepiece=True, undoes_normalizer=True)


# Gemma's; it splits nowhere, as the normaliser leaves no space
_SPLIT_AT_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def _lead(normalizers: list[dict[str, Any]]) -> str | None:
    """What normalisers put before a text that only write spaces as U+2581: Llama 2's one, Gemma's none; None of others.

    Neither has a pre-tokenizer that does it, as `Metaspace` is.
    """
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    if normalizers == [spaces]:
        return ""
    return " " if normalizers == [{"type": "Prepend", "prepend": "\u2581"}, spaces] else None


def _byte_level(tokens: list[str]) -> pa.BinaryArray:
    """A byte per character. An added token is not written in this alphabet: what it becomes here is never looked at."""
    joined = "".join(tokens).translate(_byte_alphabet()).encode("latin-1", "replace")
    ends = np.cumsum([0, *map(len, tokens)], dtype=np.int32)
    return pa.BinaryArray.from_buffers(pa.binary(), len(tokens), [None, pa.py_buffer(ends), pa.py_buffer(joined)])


def _metaspace(tokens: list[str]) -> pa.BinaryArray:
    return bytes_column([_metaspace_bytes(token) for token in tokens])


def _metaspace_bytes(token: str) -> bytes:
    if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {**{byte: byte for byte in printable}, **{0x100 + n: byte for n, byte in enumerate(others)}}
