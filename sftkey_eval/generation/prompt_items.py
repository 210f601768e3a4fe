"""The items to generate for: rows of prepared data with the exact token ids their prompts must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.special_text import Occurrence, encode_as_text, occurrences, stated_as_text
from sftkey_data.tokens.tokenizer import Encoder, tokenizer_fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ITEM_COLUMNS = (
    "id",
    "dataset",
    "split",
    "prompt",
    "completion",
    "gold",
    "answer_type",
    "choices",
    "cot_start",
    "cot_end",
)
TOKEN_COLUMNS = ("input_ids", "prompt_tokens")


@dataclass(frozen=True, slots=True)
class Item:
    """One row to complete: `row` is the completion line without the completion, `shard_ids` the prompt's ids there."""

    row: dict[str, Any]
    shard_ids: list[int] | None

    @property
    def id(self) -> str:
        """The row's id."""
        return str(self.row["id"])

    @property
    def prompt(self) -> str:
        """The rendered prompt."""
        return str(self.row["prompt"])


def load_prompt_items(
    data: Path, manifest: Manifest, *, split: str | None = None, limit: int | None = None
) -> list[Item]:
    """The rows of a prepared directory in its own order.

    Args:
        data: The directory.
        manifest: Its manifest.
        split: Only rows of this split; None takes all.
        limit: Only the first so many of them.

    Raises:
        SFTKeyError: No such split, or no rows.
    """
    columns = ITEM_COLUMNS + (TOKEN_COLUMNS if manifest.tokenizer is not None else ())
    rows = open_shards(data, columns=columns).to_pylist()
    if split is not None:
        splits = sorted({row["split"] for row in rows})
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise SFTKeyError(f"{data}: no split {split!r}{nearest(split, splits)}; found: {', '.join(splits)}")
    if not rows:
        raise SFTKeyError(f"{data}: no rows to generate for")
    return [_item(row) for row in rows[:limit]]


def _item(row: dict[str, Any]) -> Item:
    cot = row["completion"][row["cot_start"] : row["cot_end"]]
    kept = {name: row[name] for name in ("id", "dataset", "split", "prompt", "gold", "answer_type", "choices")}
    ids = row["input_ids"][: row["prompt_tokens"]] if "input_ids" in row else None
    return Item({**kept, "gold_cot": cot}, ids)


def prompt_ids(
    items: Sequence[Item], tokenizer: "PreTrainedTokenizerBase", manifest: Manifest, special_tokens: str = "reject"
) -> dict[str, list[int]]:
    """Token ids of every prompt, by its text, see `encode_prompts`.

    Raises:
        SFTKeyError: What `encode_prompts` refuses.
    """
    prompts = [item.prompt for item in items]
    return dict(zip(prompts, encode_prompts(items, tokenizer, manifest, special_tokens), strict=True))


def encode_prompts(
    items: Sequence[Item], tokenizer: "PreTrainedTokenizerBase", manifest: Manifest, special_tokens: str = "reject"
) -> list[list[int]]:
    """Token ids of every prompt as the model is to see them.

    The model's own tokenizer encodes the prompt alone. Where the shards were built with the same tokenizer, the result
    must equal the ids the model was trained on, BOS included.

    Args:
        items: Of a prepared folder.
        tokenizer: The model's.
        manifest: Of the folder.
        special_tokens: What becomes of a question that names a special token: `reject` or `text`. Where the shards
            hold ids of the tokenizer, these have settled it.

    Raises:
        SFTKeyError: A prompt encodes to other ids than its shard holds, or to none; or a question names a special token
            of the model and is to be refused, or cannot be encoded as text.
    """
    encoder = model_encoder({item.id: item.prompt for item in items}, tokenizer, manifest)
    same = built_with(manifest, tokenizer)
    encoded = [encoding.ids for encoding in encoder.encode_batch([item.prompt for item in items])]
    for index, item in enumerate(items):
        if named := named_in_question(item.prompt, item.shard_ids if same else None, encoder, manifest):
            if not same and special_tokens == "reject":
                start, end = named[0]
                raise SFTKeyError(
                    f"{item.id}: the question names {item.prompt[start:end]!r}, of which the model's tokenizer would "
                    "make a control token: encode it as text by --special-tokens text, or leave the row out of the data"
                )
            encoded[index] = encode_as_text(item.prompt, named, encoder).ids
            if stated_as_text(item.prompt, encoded[index], encoder) != named:
                raise SFTKeyError(f"{item.id}: the model's tokenizer cannot encode its special tokens as text")
    for item, ids in zip(items, encoded, strict=True):
        if not ids:
            raise SFTKeyError(f"{item.id}: the prompt encodes to no token, so there is nothing to continue")
        if same and item.shard_ids is not None and ids != item.shard_ids:
            raise SFTKeyError(_mismatch(item, ids, item.shard_ids))
    return encoded


def named_in_question(
    prompt: str, shard_ids: Sequence[int] | None, encoder: Encoder, manifest: Manifest
) -> list[Occurrence]:
    """Where a prompt names special tokens of the model in the question's own text.

    In a prompt that another tokenizer's chat template rendered, all are taken for the template's.

    Args:
        prompt: As the shards have it.
        shard_ids: Its ids there, where they are of the model's tokenizer.
        encoder: The model's.
        manifest: Of the folder.
    """
    if shard_ids is not None:
        return stated_as_text(prompt, shard_ids, encoder)
    return [] if manifest.config.get("chat") else occurrences(prompt, encoder)


def built_with(manifest: Manifest, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the shards hold the ids of this tokenizer."""
    return manifest.tokenizer is not None and manifest.tokenizer.fingerprint == tokenizer_fingerprint(tokenizer)


def end_tokens(tokenizer: "PreTrainedTokenizerBase", manifest: Manifest) -> list[int]:
    """Ids that end a completion: what ends the examples, where the tokenizer is theirs, and the tokenizer's EOS."""
    recorded = manifest.tokenizer
    ends = [recorded.eos_token_id] if recorded is not None and built_with(manifest, tokenizer) else []
    return list(dict.fromkeys([*ends, int(tokenizer.eos_token_id)]))


def model_encoder(prompts: Mapping[str, str], tokenizer: "PreTrainedTokenizerBase", manifest: Manifest) -> Encoder:
    """What encodes text for a model: as the build did where its tokenizer is the model's, BOS included.

    Where it is not, the tokenizer adds its special tokens unless the prompts begin with BOS as text.

    Args:
        prompts: By id.
        tokenizer: The model's.
        manifest: Of the prepared data.

    Raises:
        SFTKeyError: Some prompts begin with BOS as text and some do not.
    """
    if manifest.tokenizer is not None and built_with(manifest, tokenizer):
        with_bos = manifest.tokenizer.adds_special_tokens
    else:
        with_bos = not _writes_its_own_bos(prompts, tokenizer)
    return Encoder(tokenizer, add_special_tokens=with_bos)


def _writes_its_own_bos(prompts: Mapping[str, str], tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the prompts begin with BOS as text, as chat templates write it; all of them or none."""
    bos = tokenizer.bos_token
    if not isinstance(bos, str) or not bos:
        return False
    written = [prompt.startswith(bos) for prompt in prompts.values()]
    if len(set(written)) > 1:
        odd = list(prompts)[written.index(not written[0])]
        raise SFTKeyError(f"{odd}: some prompts begin with {bos!r} and some do not; expected all or none")
    return written[0]


def _mismatch(item: Item, ids: list[int], expected: list[int]) -> str:
    pairs = zip(ids, expected, strict=False)  # one may be the beginning of the other
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(expected)))
    return (
        f"{item.id}: the prompt alone encodes to {len(ids)} ids, the shard has {len(expected)} before the completion "
        f"(first difference at position {place}): a token crosses the prompt's end or BOS differs, so the model would "
        "not see what it was trained on"
    )
