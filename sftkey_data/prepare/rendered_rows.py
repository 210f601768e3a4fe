"""From records to rendered rows: extracted one by one, then written and checked a batch at a time."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash
from numpy.typing import NDArray

from sftkey_data.arrays import Ints
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.fields import find_field
from sftkey_data.extract.parts import ANSWER_TYPES, Parts, Reject, Row
from sftkey_data.extract.training_flags import FLAG, WatchedRow, has_flags, unused
from sftkey_data.format.marks import Spans
from sftkey_data.format.template import Template
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.prepare.contamination import EvaluationSets
from sftkey_data.prepare.draw import Draw
from sftkey_data.prepare.own_text import in_prompt, joined_own_texts, named_special_token
from sftkey_data.prepare.prompts import plain_prompt, plain_question
from sftkey_data.registry import Dataset
from sftkey_data.sources.readers import unusable
from sftkey_data.sources.source import Record
from sftkey_data.tokens.fast_encoder import FastEncoder
from sftkey_data.tokens.special_text import Occurrence
from sftkey_data.tokens.tokenizer import Encoder

Refuse = Callable[[int, Record, Reject], None]

DROPPED = frozenset({"duplicate", "contaminated"})
"""Reasons of rows that the user asked to drop; they do not count against --max-reject-rate."""

NOT_DRAWN, HELD_OUT_COPY = "not_drawn", "held_out_copy"
"""Reasons of rows that the weight of their source leaves out: they, too, do not count against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
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
    evaluation: EvaluationSets | None = None
    holdout: Draw | None = None
    drawn: Draw | None = None
    """What a weight takes of the source; None: all."""
    is_copy: bool = False
    """An earlier recipe has written these rows, too."""
    reference_share: int = 100  # one row in so many is encoded by the reference too


@dataclass(slots=True)
class Columns:
    """Rendered rows, column by column; `spans` has shape (num_rows, 5), columns as `marks.Spans`.

    `shortened` holds the indices, as in `indices`, of rows whose CoT was cut.
    """

    records: list[Record]
    indices: list[int]
    parts: list[Parts]
    prompts: list[str]
    completions: list[str]
    spans: NDArray[np.int64]
    shortened: set[int] = field(default_factory=set)
    named: dict[int, list[Occurrence]] = field(default_factory=dict)
    """By index: where a prompt names special tokens in the row's own text, which are to be plain text."""

    def text(self, row: int) -> str:
        """Prompt and completion as the one text that is tokenised."""
        return self.prompts[row] + self.completions[row]

    def texts(self) -> list[str]:
        """`text` of every row."""
        return [prompt + completion for prompt, completion in zip(self.prompts, self.completions, strict=True)]

    def span(self, row: int) -> Spans:
        """The spans of one row."""
        return Spans(*self.spans[row].tolist())

    def positions(self, rows: Ints) -> Ints:
        """What becomes token borders, in code points of `text`, shape (len(rows), 4): end of the prompt, end of the
        closing CoT tag, start and end of the Key.
        """
        prompts = np.fromiter(map(len, self.prompts), np.int64, len(self.prompts))[rows, None]
        # columns 2 to 4 of the spans: cot_tag_end, key_start, key_end
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
            named=self.named,
        )


def question_hash(parts: Parts) -> int:
    """64 bits, equal where two questions and the turns before them are; white space at a question's ends is no matter.

    The same on every machine.
    """
    content = parts.prompt.strip()
    if parts.history:
        content += repr(parts.history)
    # a lone surrogate has its own reject, which comes later
    return int(xxhash.xxh3_64_intdigest(content.encode("utf-8", "surrogatepass")))


def question_hashes(
    records: Sequence[tuple[int, Record]], dataset: Dataset, drawn: Draw | None = None
) -> NDArray[np.uint64]:
    """The hash of every record's question; 0 for a record that the extractor rejects, or that is not drawn."""
    hashes = np.zeros(len(records), np.uint64)
    for row, (_, record) in enumerate(records):
        try:
            hashes[row] = question_hash(_drawn_parts(record, dataset, drawn))
        except Reject:
            continue
    return hashes


def extracted(
    records: Iterable[tuple[int, Record]], recipe: Preparation, dropped: frozenset[int], refuse: Refuse
) -> Iterator[tuple[int, Record, Parts]]:
    """The parts of each record, with its index; a row that is rejected or dropped goes to `refuse` instead."""
    dataset, evaluation, drawn = recipe.dataset, recipe.evaluation, recipe.drawn
    for index, record in records:
        try:
            parts = _extract(record, dataset) if drawn is None else _drawn_parts(record, dataset, drawn)
            if index in dropped:
                raise Reject("duplicate", "the question stands in an earlier row too")
            if evaluation is not None and (found := evaluation.match(_question(parts, recipe.chat), parts.cot)):
                raise Reject("contaminated", found)
            if recipe.is_copy and recipe.holdout is not None and recipe.holdout.takes(parts):
                raise Reject(HELD_OUT_COPY, "the question is held out, where each row stands once")
        except Reject as reject:
            refuse(index, record, reject)
        else:
            yield index, record, parts


def _drawn_parts(record: Record, dataset: Dataset, drawn: Draw | None) -> Parts:
    """The parts of a record. One that is a reject is drawn too, so that a share of the rows has that share of them."""
    try:
        parts = _extract(record, dataset)
    except Reject:
        if drawn is not None and not drawn.takes_row(record.position):
            raise _not_drawn(drawn) from None
        raise
    if drawn is not None and not drawn.takes(parts):
        raise _not_drawn(drawn)
    return parts


def _not_drawn(drawn: Draw) -> Reject:
    return Reject(NOT_DRAWN, f"not in the share of {drawn.share:g} that the weight of its source takes")


def _question(parts: Parts, chat: ChatFormat | None) -> str:
    """What a row asks, without what was rendered around it."""
    if not parts.rendered:
        return parts.prompt
    return plain_question(parts.prompt) if chat is None else chat.question(parts.prompt)


def render(rows: list[tuple[int, Record, Parts]], recipe: Preparation, refuse: Refuse) -> Columns:
    """Prompt and completion of each row; a row that cannot be written, or not be read back, goes to `refuse`."""
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
            prompt = ""  # keeps the columns aligned until the row is taken out below
        prompts.append(prompt)
    columns = Columns(records, indices, parts, prompts, completions, spans)
    _refuse_characters(columns, faults)
    _settle_special_tokens(columns, faults, recipe)
    for row, fault in faults.items():
        refuse(indices[row], records[row], fault)
    return columns.take([row for row in range(len(rows)) if row not in faults]) if faults else columns


def write_prompts(
    parts: Sequence[Parts], completions: Sequence[str], chat: ChatFormat | None, system: str | None
) -> list[str | Reject]:
    """The prompt of every row, by `ChatFormat.prompt` or `plain_prompt`; a `Reject` in place of one that is refused."""
    if chat is None and system is None and not any(part.history or part.rendered for part in parts):
        questions = [part.prompt.strip() for part in parts]
        if all(questions):
            return [f"{question}\n" for question in questions]
    prompts: list[str | Reject] = []
    for part, completion in zip(parts, completions, strict=True):
        try:
            prompts.append(plain_prompt(part, system) if chat is None else chat.prompt(part, completion))
        except Reject as reject:
            prompts.append(reject)
    return prompts


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


def _settle_special_tokens(columns: Columns, faults: dict[int, Reject], recipe: Preparation) -> None:
    """Refuse rows whose own text names a special token, or find where their prompts do; the templates' are exempt."""
    if (encoder := recipe.encoder) is None or (special := encoder.special_tokens) is None:
        return
    if not special.search(joined_own_texts(columns.parts, recipe.chat)):
        return
    for row, parts in enumerate(columns.parts):
        if row in faults or (fault := named_special_token(parts, recipe.chat, encoder)) is None:
            continue
        if not encoder.special_text:
            faults[row] = fault
            continue
        try:
            found = in_prompt(parts, columns.prompts[row], columns.completions[row], recipe.chat, encoder)
        except Reject as reject:
            faults[row] = reject
        else:
            columns.named[columns.indices[row]] = found


def render_row(parts: Parts, recipe: Preparation) -> tuple[str, str, Spans]:
    """Prompt, completion and spans of one row on its own; a `Reject` where `render` would refuse it."""
    completion, spans = recipe.template.render(parts.cot, parts.key)
    prompt = plain_prompt(parts, recipe.system) if recipe.chat is None else recipe.chat.prompt(parts, completion)
    return prompt, completion, spans


def _extract(record: Record, dataset: Dataset) -> Parts:
    row = record.row
    if not isinstance(row, dict):
        raise unusable(row)
    for column in dataset.columns:
        if row.get(column) is None and find_field(row, column) is None:
            raise Reject("null_value", f"{column} is null")
    watched = has_flags(row)
    seen = set(dataset.columns) if watched else set[str]()
    try:
        parts = dataset.extract(WatchedRow(row, "", seen) if watched else row)
    except Reject:
        raise
    except Exception as error:
        raise SFTKeyError(
            f"{record.where}: extract of {dataset.name!r}{_line(error, dataset)} raised {type(error).__name__}: {error}"
        ) from error
    if not (
        isinstance(parts, Parts)
        and isinstance(parts.prompt, str)
        and isinstance(parts.cot, str)
        and isinstance(parts.key, str)
        and parts.answer_type in ANSWER_TYPES
    ):
        raise SFTKeyError(f"{record.where}: {_fault(parts, dataset)}")
    return _with_unused_flags(parts, row, seen) if watched else parts


def _with_unused_flags(parts: Parts, row: Row, seen: set[str]) -> Parts:
    """The parts, and in `left_out` what a row says about training that its extractor did not look at."""
    flags = tuple((f"{FLAG}{said.name}", said.shown) for said in unused(row, seen))
    return parts._replace(left_out=(*parts.left_out, *flags)) if flags else parts


def _line(error: Exception, dataset: Dataset) -> str:
    """The place in a user's own file that raised."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(dataset.source_file)]
    return f" ({dataset.source_file} line {own[-1].lineno})" if own else ""


def _fault(parts: object, dataset: Dataset) -> str:
    if not isinstance(parts, Parts):
        return f"extract of {dataset.name!r} must return Parts, found {type(parts).__name__}"
    for name in ("prompt", "cot", "key"):
        if not isinstance(getattr(parts, name), str):
            return f"{dataset.name!r}: {name} must be a string, found {type(getattr(parts, name)).__name__}"
    return f"{dataset.name!r}: answer_type {parts.answer_type!r}, expected one of {', '.join(ANSWER_TYPES)}"
