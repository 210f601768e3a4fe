"""The work unit of a build: records in, examples and rejects out. Pure, so that any worker gives the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sftkey_data.borders import Borders, token_borders
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import ANSWER_TYPES, Parts, Reject
from sftkey_data.registry import Dataset
from sftkey_data.schema import CHARACTER_SPANS
from sftkey_data.sources import Record
from sftkey_data.template import Spans, Template
from sftkey_data.tokenizer import Encoded, Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a row becomes an example; the same for every unit of a build."""

    dataset: Dataset
    split: str
    template: Template
    encoder: Encoder | None
    straddle: str  # "cover" or "strict"


@dataclass(frozen=True, slots=True)
class Example:
    """A rendered example, before tokenisation."""

    columns: dict[str, Any]
    spans: Spans

    @property
    def text(self) -> str:
        """Prompt and completion as the one text that is tokenised."""
        return f"{self.columns['prompt']}{self.columns['completion']}"


@dataclass(slots=True)
class Unit:
    """What became of a run of records: `len(rows) + len(rejects)` of them.

    `lengths` holds one (example, completion, key) triple a row: tokens, or code points without a tokenizer.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    lengths: list[tuple[int, int, int]] = field(default_factory=list)


def prepare(records: Sequence[tuple[int, Record]], recipe: Recipe) -> Unit:
    """Turn records into examples, or rejects under a reason; nothing is dropped.

    Args:
        records: Each with its index in the build, which makes its id.
        recipe: See `Recipe`.

    Raises:
        SFTKeyError: The extractor itself failed (it raised something else than `Reject`, or returned no `Parts`).
    """
    unit = Unit()
    examples: list[tuple[Record, Example]] = []
    for index, record in records:
        try:
            examples.append((record, _render(record, index, recipe)))
        except Reject as reject:
            unit.rejects.append(_rejected(record, reject))
    if recipe.encoder is None:
        for _, example in examples:
            _keep_text(unit, example)
    else:
        encodings = recipe.encoder.encode_batch([example.text for _, example in examples])
        for (record, example), encoded in zip(examples, encodings, strict=True):
            try:
                _keep_tokens(unit, example, encoded, recipe)
            except Reject as reject:
                unit.rejects.append(_rejected(record, reject))
    return unit


def _render(record: Record, index: int, recipe: Recipe) -> Example:
    parts = _extract(record, recipe.dataset)
    question = parts.prompt.strip()
    if not question:
        raise Reject("empty_prompt", "the prompt is empty")
    completion, spans = recipe.template.render(parts.cot, parts.key)
    columns: dict[str, Any] = {
        "id": f"{recipe.dataset.name}/{recipe.split}/{index}",
        "dataset": recipe.dataset.name,
        "split": recipe.split,
        "prompt": f"{question}\n",  # one line break, stripped before: more would tokenise otherwise at the prompt's end
        "completion": completion,
        "gold": completion[spans.key_start : spans.key_end],
        "answer_type": parts.answer_type,
        "choices": None if parts.choices is None else list(parts.choices),
    }
    columns |= {name: getattr(spans, name) for name in CHARACTER_SPANS}
    example = Example(columns, spans)
    try:
        example.text.encode()
    except UnicodeEncodeError as error:
        raise Reject("invalid_unicode", f"a lone surrogate at character {error.start}") from None
    return example


def _extract(record: Record, dataset: Dataset) -> Parts:
    row = record.row
    if not isinstance(row, dict):
        shown = f"{len(row)} fields" if isinstance(row, list) else type(row).__name__
        raise Reject("not_an_object", f"expected one value per column, found {shown}")
    for column in dataset.columns:
        if column not in row:
            raise Reject("missing_column", f"column {column!r} is missing in this row")
        if row[column] is None:
            raise Reject("null_value", f"{column} is null")
    try:
        parts = dataset.extract(row)
    except Reject:
        raise
    except Exception as error:
        raise SFTKeyError(
            f"{record.where}: extract of {dataset.name!r} raised {type(error).__name__}: {error}"
        ) from error
    return _checked(parts, record, dataset)


def _checked(parts: Parts, record: Record, dataset: Dataset) -> Parts:
    if not isinstance(parts, Parts):
        found = type(parts).__name__
        raise SFTKeyError(f"{record.where}: extract of {dataset.name!r} must return Parts, found {found}")
    for name in ("prompt", "cot", "key"):
        if not isinstance(getattr(parts, name), str):
            found = type(getattr(parts, name)).__name__
            raise SFTKeyError(f"{record.where}: {dataset.name!r}: {name} must be a string, found {found}")
    if parts.answer_type not in ANSWER_TYPES:
        known = ", ".join(ANSWER_TYPES)
        raise SFTKeyError(
            f"{record.where}: {dataset.name!r}: answer_type {parts.answer_type!r}, expected one of {known}"
        )
    return parts


def _keep_text(unit: Unit, example: Example) -> None:
    key = example.spans.key_end - example.spans.key_start
    unit.lengths.append((len(example.text), len(example.columns["completion"]), key))
    unit.rows.append(example.columns)


def _keep_tokens(unit: Unit, example: Example, encoded: Encoded, recipe: Recipe) -> None:
    encoder = recipe.encoder
    if encoder is None:
        raise ValueError("tokens without an encoder")
    borders = token_borders(encoded, len(example.columns["prompt"]), example.spans)
    if borders.straddle and recipe.straddle == "strict":
        raise Reject("straddle", f"a token crosses a border (bits {borders.straddle}) and the policy is strict")
    if encoder.eos_token_id in encoded.ids[borders.prompt_tokens :]:
        raise Reject("eos_in_completion", "the completion's text holds the EOS token, so generation would stop there")
    _check_decoded(example, encoded, borders, encoder)
    key = borders.key_token_end - borders.key_token_start
    ids = [*encoded.ids, encoder.eos_token_id]
    unit.lengths.append((len(ids), len(ids) - borders.prompt_tokens, key))
    unit.rows.append({**example.columns, "input_ids": ids, **asdict(borders)})


def _check_decoded(example: Example, encoded: Encoded, borders: Borders, encoder: Encoder) -> None:
    """Decode the Key's tokens and find the Key: exactly, or inside them where one straddles; then the whole text."""
    gold = example.columns["gold"]
    decoded = encoder.decode(encoded.ids[borders.key_token_start : borders.key_token_end])
    if not (encoder.same_text(decoded, gold) or (borders.straddle and encoder.holds_text(decoded, gold))):
        raise Reject("key_not_decoded", f"the Key's tokens decode to {decoded!r}, expected {gold!r}")
    if not encoder.same_text(encoder.decode_text(encoded.ids), example.text):
        raise Reject("text_not_decoded", "the tokenizer loses characters of this text: its ids decode to another one")


def _rejected(record: Record, reject: Reject) -> dict[str, Any]:
    return {
        "source": record.source,
        "position": record.position,
        "reason": reject.reason,
        "detail": reject.detail,
        "row": record.row,
    }
