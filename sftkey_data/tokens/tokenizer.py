"""Loading a tokenizer, knowing two tokenizers apart, and trusting its offsets only after a test."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from tokenizers import Tokenizer

from sftkey_data.errors import SFTKeyError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Digits, LaTeX, white space runs, several scripts, combining marks, emoji: where offsets go wrong first.
OFFSET_PROBES = (
    "What is 7 + 65?\n<Thinking>\n7 + 65 = 72\n</Thinking>\n<Answer>\n72\n</Answer>",
    "x\n\\boxed{\\frac{1}{2}}",
    "it's  so:\t#### 1,234.50 \n\n The answer is −5 %.",
    "naïve café e\u0301 日本語 שלום नमस्ते 😀👩\u200d🔬 ½ ٤٢ １２",
    " leading and trailing \n",
)


_CONTROL = re.compile(r"<[|｜].*[|｜]>")
"""An added token that is none of a text, flagged special or not: Qwen's `<|fim_prefix|>`, DeepSeek's `<｜User｜>`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as tokens: `ids[i]` covers the code points `[starts[i], ends[i])`; a special token covers none."""

    ids: list[int]
    starts: list[int]
    ends: list[int]


class FastTokenizer(Protocol):
    """What encoding needs of a tokenizer; transformers' fast ones have it, and `tokenizer_file.TokenizerFile`."""

    name_or_path: str
    eos_token_id: Any

    @property
    def backend_tokenizer(self) -> Any:
        """The tokenizer of the `tokenizers` library."""

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """Added tokens by id."""

    def __len__(self) -> int:
        """Size of the vocabulary, added tokens included."""


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """A fast tokenizer from a directory or a hub name, without padding, truncation or remote code.

    Raises:
        SFTKeyError: It is not there, it is not a fast tokenizer, or it has no EOS token.
    """
    from transformers import AutoTokenizer

    _refuse_missing_directory(name)
    try:
        # None, the default of `trust_remote_code`, would ask on the terminal
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare ones, and wrong JSON can be wrong in any way
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"tokenizer {name!r} could not be loaded: {first_line}") from None
    if not tokenizer.is_fast:
        raise SFTKeyError(
            f"tokenizer {name!r} is not a fast tokenizer, and only those give offsets; expected tokenizer.json"
        )
    if tokenizer.eos_token_id is None:
        raise SFTKeyError(f"tokenizer {name!r} has no EOS token, expected `eos_token` in tokenizer_config.json")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _refuse_missing_directory(name: str) -> None:
    path = Path(name)
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if path.is_dir() and not (path / "tokenizer_config.json").exists() and not (path / "tokenizer.json").exists():
        raise SFTKeyError(f"tokenizer {name!r}: the folder holds no tokenizer.json or tokenizer_config.json")
    if not path.exists() and (looks_like_path or ("/" in name and path.parent.is_dir())):
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise SFTKeyError(f"tokenizer {name!r} is not there: no such folder{nearest(path.name, siblings)}")


def tokenizer_fingerprint(tokenizer: FastTokenizer) -> str:
    """SHA-256 over everything that decides ids; equal exactly when two tokenizers encode alike.

    What ends a text is no part of it: a base model, its chat model and what was trained of them differ in that alone.
    Nor is which added tokens are special, as transformers makes an EOS special.
    """
    return _fingerprint(backend_json(tokenizer))


@lru_cache(1)  # a build asks three times of the same one
def _fingerprint(content: str) -> str:
    start = content.index('"added_tokens":')  # no content of a token can hold these bytes: its quotes are escaped
    stop = content.index('"normalizer":', start)
    added = content[start:stop].replace('"special":false', '"special":true')
    return hashlib.sha256(f"{content[:start]}{added}{content[stop:]}".encode()).hexdigest()


def backend_json(tokenizer: FastTokenizer) -> str:
    """The content of the tokenizer's `tokenizer.json` as the library writes it, without padding and truncation."""
    if isinstance(written := getattr(tokenizer, "backend_json", None), str):
        return written
    backend = tokenizer.backend_tokenizer
    padding, truncation = backend.padding, backend.truncation  # set by a caller's last batch, no part of the ids
    backend.no_padding()
    backend.no_truncation()
    content = str(backend.to_str())
    if padding is not None:
        backend.enable_padding(**padding)
    if truncation is not None:
        backend.enable_truncation(**truncation)
    return content


def _untrimmed(content: str) -> str:
    """`backend_json` with offsets that keep white space; only the post-processor trims them."""
    start = content.index('"post_processor":')  # no vocabulary entry can hold these bytes: its quotes are escaped
    stop = content.index('"decoder":', start)
    processor = content[start:stop].replace('"trim_offsets":true', '"trim_offsets":false')
    return content[:start] + processor + content[stop:]


class Encoder:
    """The reference encoder: ids of the whole text at once, with offsets that tile it.

    Byte-level tokenizers may trim white space from the offsets they report, which hides that a token holds the space
    before a Key; the offsets here are taken untrimmed.

    Args:
        tokenizer: Any fast tokenizer.
        add_special_tokens: Whether the tokenizer's own BOS is wanted; false where a chat template has written it.
        eos_token_id: What ends an example; the tokenizer's EOS unless a chat template ends its turns otherwise.
        special_text: Whether rows hold special tokens as plain text, see `special_text`.
    """

    def __init__(
        self,
        tokenizer: FastTokenizer,
        *,
        add_special_tokens: bool = True,
        eos_token_id: int | None = None,
        special_text: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.special_text = special_text
        self.eos_token_id = int(tokenizer.eos_token_id if eos_token_id is None else eos_token_id)
        self.add_special_tokens = add_special_tokens
        self.backend_json = _untrimmed(backend_json(tokenizer))
        unchanged = getattr(tokenizer, "backend_json", None) == self.backend_json
        self.backend = tokenizer.backend_tokenizer if unchanged else Tokenizer.from_str(self.backend_json)
        self._normalizer = self.backend.normalizer
        self.prefix = self._prefix()

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The content of `tokenizer.json`, see `backend_json`; the merges, which are many, stay undecoded."""
        parts = msgspec.json.decode(self.backend_json, type=dict[str, msgspec.Raw])
        content: dict[str, Any] = {name: msgspec.json.decode(part) for name, part in parts.items() if name != "model"}
        model = msgspec.json.decode(parts["model"], type=dict[str, msgspec.Raw])
        content["model"] = {
            name: part if name == "merges" else msgspec.json.decode(part) for name, part in model.items()
        }
        return content

    @cached_property
    def special_tokens(self) -> re.Pattern[str] | None:
        """Finds the special tokens in a text, each of which would become a control id; None where there are none."""
        longest_first = sorted(self._controls, key=lambda content: (-len(content), content))
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of `special_tokens`."""
        return frozenset(self._controls.values())

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """The ids of all added tokens: a text is split at these before anything else."""
        return frozenset(index for index, _, _ in self._added)

    @cached_property
    def _controls(self) -> dict[str, int]:
        """Added tokens that are flagged special, or are none a text would hold by the look of them."""
        return {name: index for index, name, special in self._added if name and (special or _CONTROL.fullmatch(name))}

    @cached_property
    def _added(self) -> list[tuple[int, str, bool]]:
        known = self.tokenizer.added_tokens_decoder.items()
        stored = self.parts["added_tokens"]
        return [(int(index), str(token.content), bool(token.special)) for index, token in known] + [
            (int(token["id"]), str(token["content"]), bool(token["special"])) for token in stored
        ]

    def _prefix(self) -> list[int]:
        """BOS, where the tokenizer adds one. Of a text: after none, a BOS that is the EOS too looks like the end."""
        encoded = self.encode_batch(["a"])[0]
        tokens = zip(encoded.starts, encoded.ends, strict=True)
        return encoded.ids[: next(index for index, (start, end) in enumerate(tokens) if start < end)]

    def encode_batch(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode each text; a closing EOS that the tokenizer adds by itself is dropped, as the caller appends one."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=self.add_special_tokens)
        return [
            self._tiled(text, encoding.ids, encoding.offsets) for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _tiled(self, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> Encoded:
        # An EOS that the text itself holds covers characters and stays.
        if ids and ids[-1] == self.eos_token_id and offsets[-1][0] == offsets[-1][1]:
            ids, offsets = ids[:-1], offsets[:-1]
        starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
        if self._normalizer is not None and self.normalized(text) != text:
            # NFC turns `e` + accent into one character whose offset names only the `e`: the rest belongs to it too.
            for index, next_start in enumerate([*starts[1:], len(text)]):
                if starts[index] < ends[index] < next_start:
                    ends[index] = next_start
        return Encoded(list(ids), starts, ends)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a run of tokens, special tokens included."""
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def decode_text(self, ids: Sequence[int]) -> str:
        """The text of a whole example's tokens, less the BOS that stands for no text."""
        has_prefix = list(ids[: len(self.prefix)]) == self.prefix
        return self.decode(ids[len(self.prefix) :] if has_prefix else ids)

    def normalized(self, text: str) -> str:
        """What the tokenizer's normaliser makes of a text, for example NFC."""
        return str(self._normalizer.normalize_str(text)) if self._normalizer is not None else text

    def check_offsets(self, texts: Sequence[str]) -> None:
        """Refuse a tokenizer whose offsets cannot be trusted, before the first row.

        Each text must be covered from start to end in order, and the tokens between two borders must decode to the
        text between them.

        Raises:
            SFTKeyError: Names the text and the place.
        """
        for text, encoded in zip(texts, self.encode_batch(texts), strict=True):
            if (fault := self._offset_fault(text, encoded)) is not None:
                name = self.tokenizer.name_or_path
                raise SFTKeyError(
                    f"tokenizer {name!r} fails the offset self-test: {fault} in {text[:60]!r}; spans would be wrong"
                )

    def _offset_fault(self, text: str, encoded: Encoded) -> str | None:
        position = 0
        for index, (start, end) in enumerate(zip(encoded.starts, encoded.ends, strict=True)):
            if start == end:
                continue
            if start > position and not text[position:start].isspace():
                return f"characters {position} to {start} belong to no token"
            if end < position:
                return f"token {index} ends at {end}, before {position}"
            position = end
        if position < len(text) and not text[position:].isspace():
            return f"characters {position} to {len(text)} belong to no token"
        return self._decode_fault(text, encoded)

    def _decode_fault(self, text: str, encoded: Encoded) -> str | None:
        """Every token border at which a character ends must split the decoded text where it splits the text."""
        first = next((i for i, (s, e) in enumerate(zip(encoded.starts, encoded.ends, strict=True)) if e > s), 0)
        for index in range(first, len(encoded.ids)):
            shared = index + 1 < len(encoded.ids) and encoded.starts[index + 1] < encoded.ends[index]
            if shared or encoded.starts[index] == encoded.ends[index]:
                continue
            decoded = self.decode(encoded.ids[first : index + 1])
            if not self.same_text(decoded, text[: encoded.ends[index]]):
                return (
                    f"tokens up to {index} decode to {decoded[-20:]!r}, expected {text[: encoded.ends[index]][-20:]!r}"
                )
        return None

    @cached_property
    def _swallowing(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Special tokens that take the white space after them, and before them, into themselves."""
        tokens = [token for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        sides = ([t for t in tokens if t.rstrip], [t for t in tokens if t.lstrip])
        after, before = ("|".join(re.escape(str(token.content)) for token in side) or "(?!)" for side in sides)
        return re.compile(rf"({after})\s+"), re.compile(rf"\s+({before})")

    def decodable(self, text: str) -> str:
        r"""A text as decoding writes it where special tokens swallow white space: `<|user|>\nHi` is `<|user|>Hi`."""
        after, before = self._swallowing
        return before.sub(r"\1", after.sub(r"\1", text))

    def same_text(self, decoded: str, text: str) -> bool:
        """Whether decoded tokens are a text, but for white space at its ends, what special tokens swallow, and NFC."""
        decoded, text = decoded.strip(), text.strip()
        return decoded in (text, self.normalized(text).strip()) or decoded == self.decodable(text)

    def holds_text(self, decoded: str, text: str) -> bool:
        """Whether a text stands somewhere in decoded tokens, the normaliser's changes aside."""
        return text in decoded or self.normalized(text).strip() in decoded
