"""One piece in, one shard out: what every worker does, in this process, in another, or on another machine."""

import gc
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sftkey_data.building.recipes import Recipes
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepare.draw import Draw
from sftkey_data.prepare.rendered_rows import Preparation, extracted, question_hashes
from sftkey_data.prepare.unit import Unit, prepare
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.schema import shard_schema
from sftkey_data.sources.pieces import Piece
from sftkey_data.storage.arrow_columns import truth_column
from sftkey_data.storage.output_folder import Folder
from sftkey_data.storage.sealed_json import read_sealed, sealed_line

BATCH_ROWS = 2_000  # enough for arithmetic on whole columns, little enough that memory does not grow with the shard
PLAN = "plan.sha256"  # of the plan that the pieces in a partial folder belong to
TALLIES = "unit-"
REFERENCE_ONLY = "reference-only"  # there once the fast encoder was found wrong: no resumption tries it again


def shard_name(number: int) -> str:
    """Name of a piece's shard."""
    return f"data-{number:05d}.arrow"


def tally_name(number: int) -> str:
    """Name of the file whose presence says that a piece is done; written last."""
    return f"{TALLIES}{number:05d}.json"


def rejects_name(number: int) -> str:
    """Name of a piece's rejects."""
    return f"rejects-{number:05d}.jsonl"


def left_out_name(number: int) -> str:
    """Name of what a piece's examples leave out of their rows."""
    return f"left-out-{number:05d}.jsonl"


def hashes_name(number: int) -> str:
    """Name of the hashes of a piece's questions, for counting duplicates over all pieces."""
    return f"questions-{number:05d}.npy"


@dataclass(frozen=True, slots=True)
class Side:
    """What a piece writes to one folder."""

    folder: Folder
    tally: UnitTally
    path: Path
    left_out: list[bytes]
    hashes: list[NDArray[np.uint64]]
    writer: Any  # pyarrow's writer of record batches

    def add(self, unit: Unit, rows: NDArray[np.bool_], **counted: Any) -> None:
        """Write some rows of a unit; `counted` as of `UnitTally.add`."""
        table = unit.table if rows.all() else unit.table.filter(truth_column(rows))
        if table.num_rows:
            self.writer.write_table(table)
        ids = set(table["id"].to_pylist()) if unit.left_out else set()
        left_out = [entry for entry in unit.left_out if entry["id"] in ids]
        self.left_out.extend(map(_as_json, left_out))
        self.hashes.append(unit.hashes[rows])
        shortened = int(unit.shortened[rows].sum())
        self.tally.add(table, unit.lengths[rows], left_out=left_out, shortened=shortened, **counted)

    def put(self, name: str, content: bytes) -> None:
        """Write a file that the tally holds the hash of."""
        self.folder.write_bytes(name, content)
        self.tally.files[name] = hashlib.sha256(content).hexdigest()

    def close(self, number: int) -> None:
        """Write what was left out, the hashes, and then the tally, which says that this side is done."""
        if self.left_out:
            self.put(left_out_name(number), b"".join(self.left_out))
        # sorted: counting duplicates cuts slices out of it by bisection
        self.put(hashes_name(number), np.sort(np.concatenate(self.hashes)).tobytes())
        self.folder.write_bytes(tally_name(number), sealed_line(self.tally.model_dump(mode="json")))


def read_tally(folder: Folder, name: str) -> UnitTally:
    """The tally of a piece that is done.

    Raises:
        SFTKeyError: It is not as it was written.
    """
    values = read_sealed(Path(name), "the same command does its piece again", folder.read_bytes(name))
    return UnitTally.model_validate(values)


def is_intact(folder: Folder, name: str) -> bool:
    """Whether all that was written for a piece of this tally is as it was written."""
    try:
        tally = read_tally(folder, name)
    except (SFTKeyError, ValueError):
        return False
    return have_hashes(folder, {tally.file: tally.sha256, **tally.files})


def have_hashes(folder: Folder, files: Mapping[str, str]) -> bool:
    """Whether files, by name, are there and hash to the SHA-256 beside it."""
    try:
        return all(folder.sha256(name) == sha256 for name, sha256 in files.items())
    except SFTKeyError:
        return False


def work_piece(piece: Piece, recipes: Recipes, folder: Folder, held: Folder | None = None) -> UnitTally:
    """Prepare a piece and write its shard, rejects, what was left out, question hashes and tally, the tally last.

    Memory is bounded by the batch. Two workers on the same piece write the same bytes, each under names of its own
    until they are whole.

    Args:
        piece: Of the input.
        recipes: The same for every piece, which has the number of its own.
        folder: To write to.
        held: Gets what is held out, before `folder` says that the piece is done.
    """
    gc.disable()  # millions of small objects and no cycles: collecting costs a tenth of the time
    recipe = recipes[piece.reading]
    schema = shard_schema(tokenized=recipe.encoder is not None)
    try:
        with ExitStack() as stack:
            sides = [stack.enter_context(_opened(side, piece, schema)) for side in (folder, held) if side]
            rejects = _write_piece(piece, recipe, sides)
    finally:
        gc.enable()
    sides[0].put(rejects_name(piece.number), rejects)
    for side in reversed(sides):
        side.close(piece.number)
    return sides[0].tally


@contextmanager
def _opened(folder: Folder, piece: Piece, schema: pa.Schema) -> Iterator[Side]:
    tally = UnitTally(file=shard_name(piece.number), reading=piece.reading)
    with folder.appearing_path(tally.file) as path:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            yield Side(folder, tally, path, [], [np.empty(0, np.uint64)], writer)
        tally.sha256, tally.bytes = file_sha256(path), path.stat().st_size


def hash_questions(piece: Piece, recipes: Recipes) -> NDArray[np.uint64]:
    """The hash of each row's question, 0 where the extractor rejects the row."""
    recipe = recipes[piece.reading]
    found = [question_hashes(batch, recipe.dataset, recipe.drawn) for batch in _batches(piece.read())]
    hashes = np.concatenate([np.empty(0, np.uint64), *found])
    _refuse_other_number(piece, len(hashes))
    return hashes


def place_questions(piece: Piece, recipes: Recipes, holdout: Draw) -> NDArray[np.uint64]:
    """The `Draw.place` of each row that has a question and is not contaminated; each once, sorted."""
    num_rows, places = 0, [np.empty(0, np.uint64)]
    for batch in _batches(piece.read()):
        rows = extracted(batch, recipes[piece.reading], frozenset(), lambda *_: None)
        places.append(np.fromiter((holdout.place(parts) for _, _, parts in rows), np.uint64))
        num_rows += len(batch)
    _refuse_other_number(piece, num_rows)
    return np.unique(np.concatenate(places))


def _write_piece(piece: Piece, recipe: Preparation, sides: Sequence[Side]) -> bytes:
    """Write a piece's examples, each to its side; the lines of its rejects."""
    rejects = list[bytes]()
    for batch in _batches(piece.read()):
        unit = prepare(batch, recipe, piece.dropped)
        rejects += [_as_json(reject) for reject in unit.rejects]
        sides[0].add(
            unit,
            ~unit.held,
            sources=[record.source for _, record in batch],
            reasons=[reject["reason"] for reject in unit.rejects],
        )
        for side in sides[1:]:
            of = [source for source, is_held in zip(unit.sources, unit.held.tolist(), strict=True) if is_held]
            side.add(unit, unit.held, sources=of, reasons=())
    _refuse_other_number(piece, sides[0].tally.read)
    return b"".join(rejects)


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
