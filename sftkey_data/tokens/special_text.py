"""Special tokens as plain text: where a row's own text names one, its characters are encoded, not its control id.

What a template writes keeps its control ids. Which of the two an occurrence is, a row's ids say themselves:
`stated_as_text` reads it out of them, so that whoever encodes a text again needs nothing else.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import msgspec
from tokenizers import Tokenizer

from sftkey_data.errors import SFTKeyError
from sftkey_data.tokens.tokenizer import Encoded, Encoder

Occurrence = tuple[int, int]
"""Code points of a text that name a special token, half-open."""

_FILLER = "~"  # stands for the inner characters of an occurrence while the others are looked for


def occurrences(text: str, encoder: Encoder) -> list[Occurrence]:
    """Where special tokens are named in a text, in order."""
    special = encoder.special_tokens
    return [] if special is None else [found.span() for found in special.finditer(text)]


def encode_as_text(text: str, own: Sequence[Occurrence], encoder: Encoder) -> Encoded:
    """One text encoded with some of its occurrences as plain text; without any, as `Encoder.encode_batch` does.

    Args:
        text: What is encoded.
        own: The occurrences that are text.
        encoder: The reference.
    """
    hidden = text
    for start, end in own:
        # the first and last characters stay, as a tokenizer may look at what stands beside a token
        inner = _FILLER * (end - start - 2) if end - start > 2 else ""
        name = text[start] + inner + text[end - 1] if inner else _FILLER * (end - start)
        hidden = f"{hidden[:start]}{name}{hidden[end:]}"
    (whole,) = encoder.encode_batch([hidden])
    if not own:
        return whole
    added = encoder.added_ids
    ids, starts, ends = list[int](), list[int](), list[int]()
    reached = 0  # where the piece of text between two added tokens begins
    runs = [
        (fixed, list(run))
        for fixed, run in groupby(
            zip(whole.ids, whole.starts, whole.ends, strict=True),
            key=lambda token: token[0] in added,
        )
    ]
    for number, (fixed, run) in enumerate(runs):
        stop = runs[number + 1][1][0][1] if number + 1 < len(runs) else len(text)
        if fixed or not any(start < stop and end > reached for start, end in own):
            tokens = run
        else:
            tokens = _encode_piece(text, reached, stop, encoder)
        ids += [token[0] for token in tokens]
        starts += [token[1] for token in tokens]
        ends += [token[2] for token in tokens]
        reached = max(reached, run[-1][2]) if fixed else stop
    return Encoded(ids, starts, ends)


def stated_as_text(text: str, ids: Sequence[int], encoder: Encoder) -> list[Occurrence]:
    """The occurrences in a text that the ids of its tokens, EOS excluded, hold as plain text.

    Between two control ids, as many occurrences are text as the tokens between them decode to.
    """
    found = occurrences(text, encoder)
    if not found or encoder.special_tokens is None:
        return []
    special, begun = encoder.special_tokens, len(encoder.prefix)
    own: list[Occurrence] = []
    at = 0
    controls = encoder.control_ids
    for control, run in groupby(list(ids)[begun:], key=lambda index: index in controls):
        tokens = list(run)
        num = len(tokens) if control else len(special.findall(encoder.decode(tokens)))
        own += [] if control else found[at : at + num]
        at += num
    return own


def encode_as_stated(text: str, ids: Sequence[int], encoder: Encoder) -> Encoded:
    """A text encoded again, its special tokens as plain text where its ids say so."""
    return encode_as_text(text, stated_as_text(text, ids, encoder), encoder)


def check_as_text(encoder: Encoder) -> None:
    """Refuse a tokenizer that cannot write the name of each of its special tokens as plain text.

    Raises:
        SFTKeyError: Names the first.
    """
    contents = {str(token.content) for token in encoder.tokenizer.added_tokens_decoder.values()}
    for content in sorted(contents):
        text = f"What does {content} do?"
        if not (own := occurrences(text, encoder)):
            continue
        encoded = encode_as_text(text, own, encoder)
        inside = [i for i, s, e in zip(encoded.ids, encoded.starts, encoded.ends, strict=True) if s < e]
        if encoder.control_ids & set(inside) or not encoder.same_text(encoder.decode_text(encoded.ids), text):
            raise SFTKeyError(
                f"--special-tokens text: tokenizer {encoder.tokenizer.name_or_path!r} cannot encode {content!r} as "
                "plain text; expected --special-tokens reject"
            )


def _encode_piece(text: str, start: int, stop: int, encoder: Encoder) -> list[tuple[int, int, int]]:
    """Id, start and end of every token of a piece between two added tokens, none of which is a control token."""
    first, later = _plain_backends(encoder)
    encoding = (first if start == 0 else later).encode(text[start:stop], add_special_tokens=False)
    begins = [begin + start for begin, _ in encoding.offsets]
    ends = [end + start for _, end in encoding.offsets]
    for index, follows in enumerate([*begins[1:], stop]):
        if begins[index] < ends[index] < follows and not text[ends[index] : follows].isspace():
            ends[index] = follows  # see `Encoder._tiled`
    return list(zip(encoding.ids, begins, ends, strict=True))


@lru_cache(maxsize=2)
def _plain_backends(encoder: Encoder) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizer without its control tokens: for the beginning of a text, and for what follows an added token."""
    content = msgspec.json.decode(encoder.backend_json)
    controls = encoder.control_ids
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] not in controls]
    content["post_processor"] = None
    first = Tokenizer.from_str(msgspec.json.encode(content).decode())
    pre = content["pre_tokenizer"] or {}
    for part in pre.get("pretokenizers", [pre]):
        if part.get("type") == "Metaspace" and part.get("prepend_scheme") == "first":
            part["prepend_scheme"] = "never"  # only the beginning of a text has a space put before it
    return first, Tokenizer.from_str(msgspec.json.encode(content).decode())
