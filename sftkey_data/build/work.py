"""One piece in, one shard out: what every worker does, in this process, in another, or on another machine."""

import gc
import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepare.rendered_rows import Preparation, question_hashes
from sftkey_data.prepare.unit import prepare
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.schema import shard_schema
from sftkey_data.sources.pieces import Piece
from sftkey_data.storage.output_folder import Folder

BATCH_ROWS = 2_000  # enough for arithmetic on whole columns, little enough that memory does not grow with the shard
PLAN = "plan.sha256"  # of the plan that the pieces in a partial folder belong to
REFERENCE_ONLY = "reference-only"  # there once the fast encoder was found wrong: no resumption tries it again


def shard_name(number: int) -> str:
    """Name of a piece's shard."""
    return f"data-{number:05d}.arrow"


def tally_name(number: int) -> str:
    """Name of the file whose presence says that a piece is done; written last."""
    return f"unit-{number:05d}.json"


def rejects_name(number: int) -> str:
    """Name of a piece's rejects."""
    return f"rejects-{number:05d}.jsonl"


def left_out_name(number: int) -> str:
    """Name of what a piece's examples leave out of their rows."""
    return f"left-out-{number:05d}.jsonl"


def hashes_name(number: int) -> str:
    """Name of the hashes of a piece's questions, for counting duplicates over all pieces."""
    return f"questions-{number:05d}.npy"


def work_piece(piece: Piece, recipe: Preparation, folder: Folder) -> UnitTally:
    """Prepare a piece and write its shard, rejects, what was left out, question hashes and tally, the tally last.

    Memory is bounded by the batch. Two workers on the same piece write the same bytes, each under names of its own
    until they are whole.
    """
    gc.disable()  # millions of small objects and no cycles: collecting costs a tenth of the time
    tally = UnitTally(file=shard_name(piece.number))
    try:
        with folder.appearing_path(tally.file) as path:
            rejects, left_out, hashes = _write_shard(piece, recipe, path, tally)
            tally.sha256, tally.bytes = file_sha256(path), path.stat().st_size
    finally:
        gc.enable()
    folder.write_bytes(rejects_name(piece.number), rejects)
    if left_out:
        folder.write_bytes(left_out_name(piece.number), left_out)
    # sorted: counting duplicates cuts slices out of it by bisection
    folder.write_bytes(hashes_name(piece.number), np.sort(hashes).tobytes())
    folder.write_bytes(tally_name(piece.number), tally.model_dump_json().encode())
    return tally


def hash_questions(piece: Piece, recipe: Preparation) -> NDArray[np.uint64]:
    """The hash of each row's question, 0 where the extractor rejects the row."""
    records = list(piece.read())
    _refuse_other_number(piece, len(records))
    return question_hashes(records, recipe.dataset)


def _write_shard(
    piece: Piece, recipe: Preparation, path: Path, tally: UnitTally
) -> tuple[bytes, bytes, NDArray[np.uint64]]:
    """Write a piece's shard and counts: the lines of its rejects, of what it leaves out, and its questions' hashes."""
    schema = shard_schema(tokenized=recipe.encoder is not None)
    rejects, left_out, hashes = list[bytes](), list[bytes](), [np.empty(0, np.uint64)]
    records = piece.read()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(records):
            unit = prepare(batch, recipe, piece.dropped)
            if unit.table.num_rows:
                writer.write_table(unit.table)
            rejects += [_as_json(reject) for reject in unit.rejects]
            left_out += [_as_json(entry) for entry in unit.left_out]
            hashes.append(unit.hashes)
            tally.add(
                unit.table,
                unit.lengths,
                sources=[record.source for _, record in batch],
                reasons=[reject["reason"] for reject in unit.rejects],
                left_out=unit.left_out,
                shortened=unit.shortened,
            )
    _refuse_other_number(piece, tally.read)
    return b"".join(rejects), b"".join(left_out), np.concatenate(hashes)


def _refuse_other_number(piece: Piece, found: int) -> None:
    if found != piece.num_rows:
        name = piece.source.name if piece.source else "the input"
        raise SFTKeyError(f"{name}: changed while it was read: {piece.num_rows} rows expected, {found} found")


def _batches(records: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(records, BATCH_ROWS)):
        yield batch


def _as_json(reject: dict[str, Any]) -> bytes:
    """A line of strict JSON, whatever the row holds."""
    try:
        text = json.dumps(reject, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:  # a number that JSON does not have
        text = json.dumps({**reject, "row": _finite(reject["row"])}, ensure_ascii=False, default=str)
    except RecursionError:
        text = json.dumps({**reject, "row": "nested too deeply to be written"}, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", errors="backslashreplace")


def _finite(value: Any) -> Any:
    """The value with NaN and the infinities as their names."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
