"""The work unit of a build: records in, examples and rejects out. Pure, so that any worker gives the same.

Rows are rendered one by one into columns; tokens, borders and checks are worked out for a whole batch at once where the
fast encoder is sure, and row by row with the reference where it is not. Both give the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

import xxhash

from sftkey_data import fast as fast_encoder
from sftkey_data.borders import Borders, token_borders
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import ANSWER_TYPES, Parts, Reject
from sftkey_data.fast import Encoding, FastEncoder
from sftkey_data.prompts import ChatFormat, plain_prompt, write_prompts
from sftkey_data.readers import unusable
from sftkey_data.registry import Dataset
from sftkey_data.schema import PROMPT_NOT_PREFIX, TOKEN_BORDERS, shard_schema
from sftkey_data.shorten import shorten_cot
from sftkey_data.sources import Record
from sftkey_data.template import Spans, Template
from sftkey_data.tokenizer import Encoded, Encoder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from sftkey_data.contamination import EvaluationSets

    Ints = NDArray[Any]  # of int32 or int64

Refuse = Callable[[int, Record, Reject], None]

DROPPED = frozenset({"duplicate", "contaminated"})
"""Reasons of rows that the user asked to drop; they do not count against --max-reject-rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a row becomes an example; the same for every unit of a build."""

    dataset: Dataset
    split: str
    template: Template
    encoder: Encoder | None
    straddle: str  # "cover" or "strict"
    fast: FastEncoder | None = None
    chat: ChatFormat | None = None
    system: str | None = None
    max_tokens: int | None = None
    too_long: str = "reject"  # or "shorten-cot"
    evaluation: "EvaluationSets | None" = None
    reference_share: int = 100  # one row in so many is encoded by the reference too


@dataclass(slots=True)
class Columns:
    """Rendered rows, column by column; `spans` has shape (num_rows, 5), columns as `template.Spans`."""

    records: list[Record]
    indices: list[int]
    parts: list[Parts]
    prompts: list[str]
    completions: list[str]
    spans: "NDArray[np.int64]"
    shortened: int = 0

    def text(self, row: int) -> str:
        """Prompt and completion as the one text that is tokenised."""
        return self.prompts[row] + self.completions[row]

    def texts(self) -> list[str]:
        """`text` of every row."""
        return [prompt + completion for prompt, completion in zip(self.prompts, self.completions, strict=True)]

    def span(self, row: int) -> Spans:
        """The spans of one row."""
        return Spans(*self.spans[row].tolist())

    def positions(self, rows: "Ints") -> "Ints":
        """What becomes token borders, in code points of `text`, shape (len(rows), 4): end of the prompt, end of the
        closing CoT tag, start and end of the Key.
        """
        import numpy as np

        prompts = np.fromiter(map(len, self.prompts), np.int64, len(self.prompts))[rows, None]
        return np.concatenate([prompts, self.spans[rows, 2:] + prompts], axis=1)

    def take(self, rows: list[int]) -> "Columns":
        """Only these rows; the columns themselves where these are all."""
        if len(rows) == len(self.prompts):
            return self
        return Columns(
            records=[self.records[row] for row in rows],
            indices=[self.indices[row] for row in rows],
            parts=[self.parts[row] for row in rows],
            prompts=[self.prompts[row] for row in rows],
            completions=[self.completions[row] for row in rows],
            spans=self.spans[rows],
            shortened=self.shortened,
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of rows: `ids[offsets[i]:offsets[i + 1]]`, EOS included; `numbers`: a column per border, then straddle."""

    rows: "Ints"
    ids: "Ints"
    offsets: "Ints"
    numbers: "Ints"


@dataclass(frozen=True, slots=True)
class Unit:
    """What became of a run of records: `table.num_rows + len(rejects)` of them.

    `lengths` has shape (num_rows, 3): example, completion, Key; in tokens, or code points without a tokenizer.
    """

    table: "pa.Table"
    rejects: list[dict[str, Any]]
    lengths: "Ints"
    hashes: "NDArray[np.uint64]"  # of the questions written, for counting duplicates
    shortened: int


def prepare(records: Sequence[tuple[int, Record]], recipe: Recipe, dropped: frozenset[int] = frozenset()) -> Unit:
    """Turn records into examples, or rejects under a reason; nothing is dropped silently.

    Args:
        records: Each with its index in the build, which makes its id.
        recipe: See `Recipe`.
        dropped: Indices of rows that repeat an earlier question and are not wanted.

    Raises:
        SFTKeyError: The extractor itself failed (it raised something else than `Reject`, or returned no `Parts`).
        Mismatch: The fast encoder gave other tokens than the reference.
    """
    rejects = list[tuple[int, dict[str, Any]]]()

    def refuse(index: int, record: Record, reject: Reject) -> None:
        rejects.append((index, _rejected(record, reject)))

    columns = _render(list(_extracted(records, recipe, dropped, refuse)), recipe, refuse)
    tokens = _tokenize(columns, recipe, refuse) if recipe.encoder is not None else None
    rejects.sort(key=lambda item: item[0])
    return _unit(columns, tokens, [reject for _, reject in rejects], recipe)


def question_hash(parts: Parts) -> int:
    """64 bits that are equal for questions (with the turns before them) equal but for white space at their ends."""
    content = parts.prompt.strip()
    if parts.history:
        content += repr(parts.history)
    return int(xxhash.xxh3_64_intdigest(content.encode("utf-8", "surrogatepass")))


def question_hashes(records: Sequence[tuple[int, Record]], dataset: Dataset) -> "NDArray[np.uint64]":
    """The hash of every record's question; 0 for a record that the extractor rejects."""
    import numpy as np

    hashes = np.zeros(len(records), np.uint64)
    for row, (_, record) in enumerate(records):
        try:
            hashes[row] = question_hash(_extract(record, dataset))
        except Reject:
            continue
    return hashes


def _extracted(
    records: Iterable[tuple[int, Record]], recipe: Recipe, dropped: frozenset[int], refuse: Refuse
) -> Iterator[tuple[int, Record, Parts]]:
    dataset, evaluation = recipe.dataset, recipe.evaluation
    for index, record in records:
        try:
            parts = _extract(record, dataset)
            if index in dropped:
                raise Reject("duplicate", "the question stands in an earlier row too")
            if evaluation is not None and (found := evaluation.match(parts.prompt, parts.cot)):
                raise Reject("contaminated", found)
        except Reject as reject:
            refuse(index, record, reject)
        else:
            yield index, record, parts


def _render(rows: list[tuple[int, Record, Parts]], recipe: Recipe, refuse: Refuse) -> Columns:
    indices, records, parts = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    template = recipe.template
    completions, spans, unsure = template.render_batch([p.cot for p in parts], [p.key for p in parts])
    faults: dict[int, Reject] = {}
    for row in unsure:
        try:
            completions[row], spans[row] = template.render(parts[row].cot, parts[row].key)
        except Reject as reject:
            faults[row] = reject
    prompts = list[str]()
    for row, prompt in enumerate(write_prompts(parts, completions, recipe.chat, recipe.system)):
        if isinstance(prompt, Reject):
            faults.setdefault(row, prompt)
            prompt = ""
        prompts.append(prompt)
    columns = Columns(records, indices, parts, prompts, completions, spans)
    _refuse_characters(columns, faults)
    for row, fault in faults.items():
        refuse(indices[row], records[row], fault)
    return columns.take([row for row in range(len(rows)) if row not in faults]) if faults else columns


def _refuse_characters(columns: Columns, faults: dict[int, Reject]) -> None:
    """Refuse rows with characters that no text has: first looked for in all of them at once."""
    joined = "".join(columns.prompts) + "".join(columns.completions)
    try:
        joined.encode()
        if "\0" not in joined:
            return
    except UnicodeEncodeError:
        pass
    for row in range(len(columns.prompts)):
        try:
            if b"\0" in columns.text(row).encode():
                fault = "a NUL character in the text: no writing has one, so something broke it"
                faults.setdefault(row, Reject("nul_character", fault))
        except UnicodeEncodeError as error:
            faults.setdefault(row, Reject("invalid_unicode", f"a lone surrogate at character {error.start}"))


def _rendered(parts: Parts, recipe: Recipe) -> tuple[str, str, Spans]:
    """One row on its own."""
    completion, spans = recipe.template.render(parts.cot, parts.key)
    prompt = plain_prompt(parts, recipe.system) if recipe.chat is None else recipe.chat.prompt(parts, completion)
    return prompt, completion, spans


def _extract(record: Record, dataset: Dataset) -> Parts:
    row = record.row
    if not isinstance(row, dict):
        raise unusable(row)
    for column in dataset.columns:
        if row.get(column) is None:
            if column not in row:
                raise Reject("missing_column", f"column {column!r} is missing in this row")
            raise Reject("null_value", f"{column} is null")
    try:
        parts = dataset.extract(row)
    except Reject:
        raise
    except Exception as error:
        raise SFTKeyError(
            f"{record.where}: extract of {dataset.name!r} raised {type(error).__name__}: {error}"
        ) from error
    if not (
        isinstance(parts, Parts)
        and isinstance(parts.prompt, str)
        and isinstance(parts.cot, str)
        and isinstance(parts.key, str)
        and parts.answer_type in ANSWER_TYPES
    ):
        raise SFTKeyError(f"{record.where}: {_fault(parts, dataset)}")
    return parts


def _fault(parts: object, dataset: Dataset) -> str:
    if not isinstance(parts, Parts):
        return f"extract of {dataset.name!r} must return Parts, found {type(parts).__name__}"
    for name in ("prompt", "cot", "key"):
        if not isinstance(getattr(parts, name), str):
            return f"{dataset.name!r}: {name} must be a string, found {type(getattr(parts, name)).__name__}"
    return f"{dataset.name!r}: answer_type {parts.answer_type!r}, expected one of {', '.join(ANSWER_TYPES)}"


def _tokenize(columns: Columns, recipe: Recipe, refuse: Refuse) -> Tokens:
    """Tokens of all rows that keep them, the others go to the rejects; in the rows' order."""
    import numpy as np

    texts = columns.texts()
    fast_rows = np.array([] if recipe.fast is None else recipe.fast.eligible(texts), np.int64)
    sure, encoding = _encode_fast(columns, texts, fast_rows, recipe)
    parts: list[Tokens] = []
    if encoding is not None:
        parts.append(_from_encoding(encoding, fast_rows[sure], sure, recipe))
        _compare_sample(columns, texts, fast_rows, encoding, recipe)
    unsure = np.setdiff1d(np.arange(len(texts)), fast_rows[sure]).tolist()
    encoded = _encoder(recipe).encode_batch([texts[row] for row in unsure]) if unsure else []
    for row, one in zip(unsure, encoded, strict=True):
        try:
            parts.append(_reference_row(columns, row, recipe, one))
        except Reject as reject:
            refuse(columns.indices[row], columns.records[row], reject)
    return _in_order(parts)


def _compare_sample(columns: Columns, texts: list[str], fast_rows: "Ints", encoding: Encoding, recipe: Recipe) -> None:
    """Encode a seeded share of the rows, and every one that the fast encoder was not sure of, by the reference too.

    Raises:
        Mismatch: The fast encoding differs.
    """
    import numpy as np

    indices = np.array(columns.indices, np.uint64)[fast_rows]
    mixed = (indices * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)  # Fibonacci hashing: no pattern of the input
    chosen = np.flatnonzero((mixed % np.uint64(recipe.reference_share) == 0) | ~encoding.sure).tolist()
    rows = fast_rows[chosen].tolist() if chosen else []
    for position, row, encoded in zip(
        chosen, rows, _encoder(recipe).encode_batch([texts[row] for row in rows]), strict=True
    ):
        try:
            borders: Borders | None = token_borders(encoded, len(columns.prompts[row]), columns.span(row))
        except Reject:
            borders = None
        fast_encoder.compare(encoding, position, texts[row], encoded.ids, borders)


def _encode_fast(
    columns: Columns, texts: list[str], rows: "Ints", recipe: Recipe
) -> "tuple[NDArray[np.bool_], Encoding | None]":
    """Which of the rows are settled by the fast encoder, and its encoding of all of them."""
    import numpy as np

    if recipe.fast is None or not len(rows):
        return np.zeros(len(rows), bool), None
    everything = len(rows) == len(texts)
    prompts = columns.prompts if everything else [columns.prompts[row] for row in rows]
    encoding = recipe.fast.encode(texts if everything else [texts[row] for row in rows], columns.positions(rows))
    sure = encoding.sure.copy()
    if recipe.straddle == "strict":
        sure &= encoding.straddle == 0
    if recipe.max_tokens is not None:
        sure &= np.diff(encoding.offsets) + 1 <= recipe.max_tokens
    prefixes = recipe.fast.prompts_are_prefixes(prompts, encoding)
    encoding.straddle[~prefixes] |= PROMPT_NOT_PREFIX
    return sure, encoding


def _from_encoding(encoding: Encoding, rows: "Ints", sure: "NDArray[np.bool_]", recipe: Recipe) -> Tokens:
    """The sure rows of an encoding, an EOS put after each."""
    import numpy as np

    lengths = np.diff(encoding.offsets)
    ids = encoding.ids if sure.all() else encoding.ids[np.repeat(sure, lengths)]
    kept = lengths[sure]
    ends = np.cumsum(kept)
    eos = recipe.encoder.eos_token_id if recipe.encoder is not None else 0
    numbers = np.concatenate([encoding.borders[sure], encoding.straddle[sure, None]], axis=1)
    offsets = np.concatenate(([0], ends + np.arange(1, len(ends) + 1)))
    return Tokens(rows, np.insert(ids, ends, eos), offsets, numbers)


def _reference_row(columns: Columns, row: int, recipe: Recipe, encoded: Encoded) -> Tokens:
    """The tokens of one row, or a `Reject`."""
    import numpy as np

    encoder = _encoder(recipe)
    if recipe.max_tokens is not None and len(encoded.ids) + 1 > recipe.max_tokens:
        encoded = _shortened(columns, row, recipe, encoder, len(encoded.ids) + 1)
    borders = _checked_borders(columns, row, encoded, recipe, encoder)
    ids = np.array([*encoded.ids, encoder.eos_token_id], np.int32)
    return Tokens(np.array([row]), ids, np.array([0, len(ids)]), np.array([astuple(borders)], np.int64))


def _encoder(recipe: Recipe) -> Encoder:
    if recipe.encoder is None:
        raise ValueError("tokens without an encoder")
    return recipe.encoder


def _borders(columns: Columns, row: int, encoded: Encoded, encoder: Encoder) -> Borders:
    """Token borders, with the bit that says that the prompt alone is tokenised otherwise."""
    borders = token_borders(encoded, len(columns.prompts[row]), columns.span(row))
    return with_prompt_bit(borders, encoded, columns.prompts[row], encoder)


def with_prompt_bit(borders: Borders, encoded: Encoded, prompt: str, encoder: Encoder) -> Borders:
    """The borders, with `PROMPT_NOT_PREFIX` set where the prompt alone gives other tokens."""
    alone = encoder.encode_batch([prompt])[0].ids
    if alone == encoded.ids[: borders.prompt_tokens]:
        return borders
    return replace(borders, straddle=borders.straddle | PROMPT_NOT_PREFIX)


def _checked_borders(columns: Columns, row: int, encoded: Encoded, recipe: Recipe, encoder: Encoder) -> Borders:
    borders = _borders(columns, row, encoded, encoder)
    if borders.straddle and recipe.straddle == "strict":
        raise Reject("straddle", f"a token crosses a border (bits {borders.straddle}) and the policy is strict")
    if encoder.eos_token_id in encoded.ids[borders.prompt_tokens :]:
        raise Reject("eos_in_completion", "the completion's text holds the EOS token, so generation would stop there")
    _check_decoded(columns, row, encoded, borders, encoder)
    return borders


def _check_decoded(columns: Columns, row: int, encoded: Encoded, borders: Borders, encoder: Encoder) -> None:
    """Decode the Key's tokens and find the Key: exactly, or inside them where one straddles; then the whole text."""
    spans = columns.span(row)
    gold = columns.completions[row][spans.key_start : spans.key_end]
    decoded = encoder.decode(encoded.ids[borders.key_token_start : borders.key_token_end])
    if not (encoder.same_text(decoded, gold) or (borders.straddle and encoder.holds_text(decoded, gold))):
        raise Reject("key_not_decoded", f"the Key's tokens decode to {decoded!r}, expected {gold!r}")
    if not encoder.same_text(encoder.decode_text(encoded.ids), columns.text(row)):
        raise Reject("text_not_decoded", "the tokenizer loses characters of this text: its ids decode to another one")


def _shortened(columns: Columns, row: int, recipe: Recipe, encoder: Encoder, num_tokens: int) -> Encoded:
    """Put a shorter CoT into the row and encode it again; the Key is never touched."""
    limit = recipe.max_tokens or 0
    if recipe.too_long != "shorten-cot":
        raise Reject("too_long", f"{num_tokens} tokens, at most {limit} allowed")
    parts = columns.parts[row]

    def rendered(cot: str) -> tuple[str, str, Spans]:
        return _rendered(parts._replace(cot=cot), recipe)

    def count(cot: str) -> int:
        prompt, completion, _ = rendered(cot)
        return len(encoder.encode_batch([prompt + completion])[0].ids) + 1

    cot = shorten_cot(parts.cot.strip(), count, limit)
    columns.prompts[row], columns.completions[row], columns.spans[row] = rendered(cot)
    columns.shortened += 1
    return encoder.encode_batch([columns.text(row)])[0]


def _in_order(parts: list[Tokens]) -> Tokens:
    """Runs of rows as one, sorted by row."""
    import numpy as np

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
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths[order])
    gathered = ids[np.repeat(starts[order], lengths[order]) + within]
    return Tokens(rows[order], gathered, offsets, np.concatenate([part.numbers for part in parts])[order])


def _unit(columns: Columns, tokens: Tokens | None, rejects: list[dict[str, Any]], recipe: Recipe) -> Unit:
    """The kept rows as a table of the schema."""
    import numpy as np
    import pyarrow as pa

    if tokens is not None:
        columns = columns.take(tokens.rows.tolist())
    parts, num_rows = columns.parts, len(columns.parts)
    name, split = recipe.dataset.name, recipe.split
    golds = [part.key.strip() for part in parts]
    values = [
        [f"{name}/{split}/{index}" for index in columns.indices],
        pa.repeat(name, num_rows),
        pa.repeat(split, num_rows),
        columns.prompts,
        columns.completions,
        golds,
        [part.answer_type for part in parts],
        [part.choices for part in parts],
        *(columns.spans[:, column].astype(np.int32) for column in (0, 1, 3, 4)),
    ]
    if tokens is None:
        sizes = np.array([list(map(len, column)) for column in (columns.prompts, columns.completions, golds)], np.int64)
        lengths = np.stack([sizes[0] + sizes[1], sizes[1], sizes[2]], axis=1)
    else:
        ids = tokens.ids.astype(np.int32, copy=False)
        values.append(pa.ListArray.from_arrays(tokens.offsets.astype(np.int32), ids))
        values += [tokens.numbers[:, column].astype(np.int32) for column in range(len(TOKEN_BORDERS))]
        values.append(tokens.numbers[:, -1].astype(np.int8))
        total = np.diff(tokens.offsets)
        borders = tokens.numbers
        lengths = np.stack([total, total - borders[:, 0], borders[:, 3] - borders[:, 2]], axis=1)
    schema = shard_schema(tokenized=tokens is not None)
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, kind.type)
        for value, kind in zip(values, schema, strict=True)
    ]
    hashes = np.fromiter((question_hash(part) for part in parts), np.uint64, len(parts))
    return Unit(pa.Table.from_arrays(arrays, schema=schema), rejects, lengths, hashes, columns.shortened)


def _rejected(record: Record, reject: Reject) -> dict[str, Any]:
    return {
        "source": record.source,
        "position": record.position,
        "reason": reject.reason,
        "detail": reject.detail,
        "row": record.row,
    }
