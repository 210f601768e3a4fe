"""The work unit of a build: records in, examples and rejects out. Pure, so that any worker gives the same.

`rendered_rows` extracts and renders the rows, `encode` encodes them and finds the borders; here they become a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.arrays import Ints
from sftkey_data.extract.parts import Parts, Reject
from sftkey_data.prepare.encode import Tokens, tokenize
from sftkey_data.prepare.rendered_rows import (
    HELD_OUT_COPY,
    NOT_DRAWN,
    Columns,
    Preparation,
    extracted,
    question_hash,
    render,
)
from sftkey_data.schema import TOKEN_BORDERS, shard_schema
from sftkey_data.sources.source import Record
from sftkey_data.storage.arrow_columns import int_column, no_lists, text_column

NOT_KEPT = "not kept: it stands in the input"


@dataclass(frozen=True, slots=True)
class Unit:
    """What became of a run of records: `table.num_rows + len(rejects)` of them.

    `lengths` has shape (num_rows, 3): example, completion, Key; in tokens, or code points without a tokenizer.
    `left_out` has an entry for every example whose row holds something that is in no part: id, source, position, and
    what, by name.
    """

    table: pa.Table
    rejects: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    lengths: Ints
    hashes: NDArray[np.uint64]  # of the questions written, for counting duplicates
    shortened: NDArray[np.bool_]  # which rows of the table have a CoT that was cut
    held: NDArray[np.bool_]  # which rows of the table belong to the holdout
    sources: list[str]  # of the table's rows


def prepare(records: Sequence[tuple[int, Record]], recipe: Preparation, dropped: frozenset[int] = frozenset()) -> Unit:
    """Turn records into examples, or rejects under a reason; nothing is dropped silently.

    Args:
        records: Each with its index in the build, which makes its id.
        recipe: The same for every unit of a build.
        dropped: Indices of rows that repeat an earlier question and are not wanted.

    Raises:
        SFTKeyError: The extractor itself failed (it raised something else than `Reject`, or returned no `Parts`).
        Mismatch: The fast encoder gave other tokens than the reference.
    """
    rejects = list[tuple[int, dict[str, Any]]]()
    by_weight = {NOT_DRAWN, HELD_OUT_COPY} if recipe.drawn is not None or recipe.is_copy else frozenset[str]()

    def refuse(index: int, record: Record, reject: Reject) -> None:
        # left out by a weight, it is no row to look into, and there may be many
        row = NOT_KEPT if reject.reason in by_weight else record.row
        rejects.append((index, _rejected(f"{recipe.dataset.name}/{recipe.split}/{index}", record, reject, row)))

    columns = render(list(extracted(records, recipe, dropped, refuse)), recipe, refuse)
    tokens = tokenize(columns, recipe, refuse) if recipe.encoder is not None else None
    # extracting, rendering and encoding refused one after the other: back into the input's order
    rejects.sort(key=lambda item: item[0])
    return _unit(columns, tokens, [reject for _, reject in rejects], recipe)


def _unit(columns: Columns, tokens: Tokens | None, rejects: list[dict[str, Any]], recipe: Preparation) -> Unit:
    """The kept rows as a table of the schema."""
    if tokens is not None:
        columns = columns.take(tokens.rows.tolist())
    parts, num_rows = columns.parts, len(columns.parts)
    name, split = recipe.dataset.name, recipe.split
    golds = [part.key.strip() for part in parts]
    schema = shard_schema(tokenized=tokens is not None)
    values = [
        [f"{name}/{split}/{index}" for index in columns.indices],
        [name] * num_rows,
        [split] * num_rows,
        columns.prompts,
        columns.completions,
        golds,
        [part.answer_type for part in parts],
        _choices(parts, schema.field("choices").type),
        *(columns.spans[:, column].astype(np.int32) for column in (0, 1, 3, 4)),  # not cot_tag_end: no column of it
    ]
    if tokens is None:
        sizes = np.array([list(map(len, column)) for column in (columns.prompts, columns.completions, golds)], np.int64)
        lengths = np.stack([sizes[0] + sizes[1], sizes[1], sizes[2]], axis=1)
    else:
        ids = tokens.ids.astype(np.int32, copy=False)
        values.append(pa.ListArray.from_arrays(int_column(tokens.offsets.astype(np.int32)), int_column(ids)))
        values += [tokens.numbers[:, column].astype(np.int32) for column in range(len(TOKEN_BORDERS))]
        values.append(tokens.numbers[:, -1].astype(np.int8))
        total = np.diff(tokens.offsets)
        borders = tokens.numbers
        lengths = np.stack([total, total - borders[:, 0], borders[:, 3] - borders[:, 2]], axis=1)
    arrays = [_column(value) for value in values]
    hashes = np.fromiter((question_hash(part) for part in parts), np.uint64, len(parts))
    shortened, held = np.zeros((2, len(parts)), np.bool_)
    if columns.shortened:
        shortened[:] = [index in columns.shortened for index in columns.indices]
    if recipe.holdout is not None:
        held[:] = [recipe.holdout.takes(part) for part in parts]
    return Unit(
        table=pa.Table.from_arrays(arrays, schema=schema),
        rejects=rejects,
        left_out=_left_out(columns, recipe),
        lengths=lengths,
        hashes=hashes,
        shortened=shortened,
        held=held,
        sources=[record.source for record in columns.records],
    )


def _column(value: pa.Array | list[str] | Ints) -> pa.Array:
    if isinstance(value, list):
        return text_column(value)
    return int_column(value) if isinstance(value, np.ndarray) else value


def _choices(parts: Sequence[Parts], kind: pa.DataType) -> pa.Array:
    if any(part.choices is not None for part in parts):
        return pa.array([part.choices for part in parts], kind)
    return no_lists(kind, len(parts))


def _left_out(columns: Columns, recipe: Preparation) -> list[dict[str, Any]]:
    """What the kept rows hold besides their parts."""
    return [
        {
            "id": f"{recipe.dataset.name}/{recipe.split}/{index}",
            "source": record.source,
            "position": record.position,
            "left_out": [list(entry) for entry in part.left_out],
        }
        for index, record, part in zip(columns.indices, columns.records, columns.parts, strict=True)
        if part.left_out
    ]


def _rejected(row_id: str, record: Record, reject: Reject, row: Any) -> dict[str, Any]:
    return {
        "id": row_id,
        "source": record.source,
        "position": record.position,
        "reason": reject.reason,
        "detail": reject.detail,
        "row": row,
    }
