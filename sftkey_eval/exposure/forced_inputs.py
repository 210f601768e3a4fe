"""What a model is shown for the teacher-forced Key: each item's Key behind the gold CoT and behind the model's own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Reject
from sftkey_data.format.marks import Malformed, Spans
from sftkey_data.format.template import Template
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.borders import token_borders
from sftkey_data.tokens.special_text import Occurrence, encode_as_text
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_eval.exposure.own_cot import with_gold_key
from sftkey_eval.generation.prompt_items import built_with, model_encoder, named_in_question
from sftkey_eval.kinds.grade import is_usable
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, read_completions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORCED_COLUMNS = ("id", "prompt", "completion", "gold", "answer_type", "choices", "key_start", "key_end")
FORCED_TOKEN_COLUMNS = ("input_ids", "prompt_tokens", "key_token_start", "key_token_end")
UNSCORED, TOO_LONG = "unscored", "too_long"
"""Why a Key has no numbers besides the malformed codes: the gold decides nothing; the text exceeds the context."""


@dataclass(frozen=True, slots=True)
class Forced:
    """Token ids from the prompt to the end of the Key; the Key's tokens begin at `key_start`, which is at least 1."""

    ids: tuple[int, ...]
    key_start: int

    @property
    def key_tokens(self) -> int:
        """Number of tokens that touch the Key."""
        return len(self.ids) - self.key_start


Shown = Forced | str
"""What the model is shown, or the code of why it is not."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion of an item."""

    id: str
    sample: int
    own: Shown


@dataclass(frozen=True, slots=True)
class ForcedItem:
    """An item with all its completions, in the order of their file."""

    id: str
    gold: Shown
    samples: tuple[Sample, ...]

    @property
    def shown(self) -> list[Forced]:
        """What the model is shown for the item, each text once."""
        every = [self.gold, *(sample.own for sample in self.samples)]
        return list(dict.fromkeys(shown for shown in every if isinstance(shown, Forced)))


def load_forced(
    data: Path, manifest: Manifest, completions: Path, tokenizer: "PreTrainedTokenizerBase"
) -> list[ForcedItem]:
    """The items that a file of completions answers, in its order.

    Given the gold CoT, the tokens are those of the shards where the model's tokenizer built them. All else is encoded
    as the build does it: prompt and completion as one text, and each token that touches the Key is the Key's. The
    model may have generated the same text as other tokens; these are the ones it is trained on.

    Args:
        data: Prepared folder.
        manifest: Its manifest.
        completions: JSON lines, made from this folder.
        tokenizer: The model's.

    Raises:
        SFTKeyError: A completion answers none of the rows, or one with another prompt or gold.
    """
    table = open_shards(
        data, columns=FORCED_COLUMNS + (FORCED_TOKEN_COLUMNS if built_with(manifest, tokenizer) else ())
    )
    rows = {row["id"]: row for row in table.to_pylist()}
    samples = _by_item(completions, rows, data)
    encoder = model_encoder({id_: rows[id_]["prompt"] for id_ in samples}, tokenizer, manifest)
    return [_item(rows[id_], found, manifest, encoder) for id_, found in samples.items()]


def _by_item(path: Path, rows: Mapping[str, Mapping[str, Any]], data: Path) -> dict[str, list[Completion]]:
    items: dict[str, list[Completion]] = {}
    for found in read_completions(path, Fields()):
        row = rows.get(found.item_id)
        if row is None:
            raise SFTKeyError(f"{path}: {found.id!r} answers no row of {data}; expected completions of this data")
        for name, value in (("prompt", found.prompt), ("gold", found.gold)):
            if value != row[name]:
                raise SFTKeyError(f"{path}: {name} of {found.id!r} is {value!r}, expected {row[name]!r} as in {data}")
        items.setdefault(found.item_id, []).append(found)
    return items


def _item(
    row: Mapping[str, Any], completions: Sequence[Completion], manifest: Manifest, encoder: Encoder
) -> ForcedItem:
    if not is_usable(row["gold"].strip(), row["answer_type"], row["choices"]):
        return ForcedItem(row["id"], UNSCORED, tuple(Sample(c.id, c.sample, UNSCORED) for c in completions))
    shard_ids = row["input_ids"][: row["prompt_tokens"]] if "input_ids" in row else None
    named = named_in_question(row["prompt"], shard_ids, encoder, manifest)
    template = manifest.template
    samples = (Sample(c.id, c.sample, _own(row, c, template, encoder, named)) for c in completions)
    return ForcedItem(row["id"], _gold(row, template, encoder, named), tuple(samples))


def _own(
    row: Mapping[str, Any],
    completion: Completion,
    template: Template,
    encoder: Encoder,
    named: Sequence[Occurrence],
) -> Shown:
    key, tail = row["completion"][row["key_start"] : row["key_end"]], row["completion"][row["key_end"] :]
    try:
        text, spans = with_gold_key(completion.completion or "", key, tail, template, completion.finish_reason)
    except Malformed as malformed:
        return malformed.code
    return encode_key(row["prompt"], text, spans, encoder, named)


def _gold(row: Mapping[str, Any], template: Template, encoder: Encoder, named: Sequence[Occurrence]) -> Shown:
    if "input_ids" in row:
        return Forced(tuple(row["input_ids"][: row["key_token_end"]]), row["key_token_start"])
    return encode_key(row["prompt"], row["completion"], template.locate(row["completion"]), encoder, named)


def encode_key(prompt: str, completion: str, spans: Spans, encoder: Encoder, named: Sequence[Occurrence] = ()) -> Shown:
    """The tokens of a text up to its Key's end, or the code for which a build would reject it.

    Args:
        prompt: What stands before the completion.
        completion: Whose Key is meant.
        spans: Characters of the completion, from 0 at its beginning.
        encoder: The model's.
        named: Where the prompt names special tokens that are text.
    """
    try:
        (prompt + completion).encode()  # a tokenizer has an error of its own for half a surrogate pair
        encoded = encode_as_text(prompt + completion, named, encoder)
        borders = token_borders(encoded, len(prompt), spans)
    except UnicodeEncodeError:
        return "invalid_unicode"
    except Reject as reject:
        return reject.reason
    return Forced(tuple(encoded.ids[: borders.key_token_end]), borders.key_token_start)


def within(item: ForcedItem, context: int | None) -> ForcedItem:
    """The item, with `too_long` for what a model cannot read that reads `context` tokens; None has no limit."""

    def checked(shown: Shown) -> Shown:
        # The last token of the Key is predicted, not read.
        too_long = isinstance(shown, Forced) and context is not None and len(shown.ids) - 1 > context
        return TOO_LONG if too_long else shown

    samples = tuple(replace(sample, own=checked(sample.own)) for sample in item.samples)
    return replace(item, gold=checked(item.gold), samples=samples)


def in_batches(items: Iterable[ForcedItem], max_tokens: int, max_rows: int) -> list[list[ForcedItem]]:
    """Items of like length together, the longest first; an item stays whole, however long.

    The division depends on the items alone, so that what is done after an interruption is done in the same batches.

    Args:
        items: All of them.
        max_tokens: Most tokens of a batch, padding included.
        max_rows: Most tokens of Keys in a batch: each costs a row of logits.
    """
    batches: list[list[ForcedItem]] = []
    width = texts = rows = 0
    for item in sorted(items, key=lambda item: (-_longest(item), item.id)):
        # The first of a batch is its longest, so its length is the width of all.
        more_rows = sum(shown.key_tokens for shown in item.shown)
        fits = (texts + len(item.shown)) * width <= max_tokens and rows + more_rows <= max_rows
        if not batches or not fits:
            batches.append([])
            width, texts, rows = _longest(item), 0, 0
        batches[-1].append(item)
        texts, rows = texts + len(item.shown), rows + more_rows
    return batches


def _longest(item: ForcedItem) -> int:
    return max((len(shown.ids) for shown in item.shown), default=0)
