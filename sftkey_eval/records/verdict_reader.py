"""Reading `verdicts.parquet` by batches: each verdict with its provenance, or one line that says why not."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.memory_bound import bounded_memory, bounded_steps
from sftkey_data.guards.regular_file import parse_json, regular
from sftkey_data.guards.row_digest import CHANGED, DIGEST_KEY, METADATA_KEY, add_rows
from sftkey_eval.records.verdicts import VERDICT_COLUMNS, Verdict, metric_names, verdict_schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_BATCH = 2_000
"""Read at a time."""


def read_verdicts(path: Path) -> tuple[list[Verdict], dict[str, Any]]:
    """Verdicts and their provenance, all at once.

    Raises:
        SFTKeyError: What `stream_verdicts` refuses.
    """
    provenance = _provenance(path)
    metrics = metric_names(provenance)
    return [_verdict(row, metrics) for _, rows in _batches(path, metrics) for row in rows], provenance


def stream_verdicts(path: Path) -> tuple[dict[str, Any], Iterator["pa.RecordBatch"]]:
    """Provenance of a verdicts file, and its columns in batches: a few thousand rows are in memory at a time.

    That the file is as it was written is known after the last batch.

    Raises:
        SFTKeyError: No such file, not a verdicts file, one that was changed since it was written, or no rows.
    """
    provenance = _provenance(path)
    return provenance, (batch for batch, _ in _batches(path, metric_names(provenance)))


def read_texts(path: Path, rows: Sequence[int]) -> Iterator[tuple[int, str, str | None]]:
    """Prompts and completions of some rows of a verdicts file that was read before, with the numbers of the rows.

    Args:
        path: The file.
        rows: Their numbers from 0, in ascending order.

    Raises:
        SFTKeyError: The file is not readable any more.
    """
    wanted, at = iter(rows), 0
    row = next(wanted, None)
    with _readable(path) as file:
        for batch in _record_batches(path, file, ["prompt", "completion"]):
            while row is not None and row < at + len(batch):
                text = batch.slice(row - at, 1).to_pylist()[0]
                yield row, text["prompt"], text["completion"]
                row = next(wanted, None)
            at += len(batch)


@contextmanager
def _readable(path: Path) -> Iterator["pq.ParquetFile"]:
    """The open file; what Arrow says against its content is one line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with bounded_memory(str(path), path.stat().st_size):
            opened = pq.ParquetFile(regular(path), page_checksum_verification=True)
        with opened as file:
            yield file
    except FileNotFoundError:
        raise SFTKeyError(f"verdicts file not found: {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # of a name that is no text any more
        raise SFTKeyError(f"{path}: not a readable parquet file: {' '.join(str(error).split())}") from None


def _provenance(path: Path) -> dict[str, Any]:
    """What the file says of itself, after its columns were looked at."""
    with _readable(path) as file:
        return _checked_provenance(path, file)


def _checked_provenance(path: Path, file: "pq.ParquetFile") -> dict[str, Any]:
    schema = file.schema_arrow
    for column in VERDICT_COLUMNS:
        if column not in schema.names:
            found = nearest(column, schema.names)
            raise SFTKeyError(f"{path}: column {column!r} is missing{found}; write the file with `sftkey-eval score`")
        if (kind := schema.field(column).type) != (expected := verdict_schema().field(column).type):
            raise SFTKeyError(f"{path}: column {column!r} is of {kind}, expected {expected}")
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise SFTKeyError(f"{path}: no provenance in the parquet metadata; write the file with `sftkey-eval score`")
    if file.metadata.num_rows == 0:
        raise SFTKeyError(f"{path}: no verdicts")
    try:
        provenance: dict[str, Any] = parse_json(metadata[METADATA_KEY])
        missing = [name for name in metric_names(provenance) if name not in schema.names]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SFTKeyError(f"{path}: {CHANGED}: {error}") from None
    if missing:
        raise SFTKeyError(f"{path}: {CHANGED}: no column {missing[0]!r}")
    return provenance


def _record_batches(path: Path, file: "pq.ParquetFile", columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    batches = file.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(columns))
    return bounded_steps(batches, str(path), path.stat().st_size)


def _batches(path: Path, metrics: Sequence[str]) -> Iterator[tuple["pa.RecordBatch", list[dict[str, Any]]]]:
    """Columns and rows, the same of both; after the last batch the digest is proven."""
    columns = [*VERDICT_COLUMNS, *metrics]
    with _readable(path) as file:
        sealed, metadata = file.metadata.metadata or {}, file.schema_arrow.metadata or {}
        digest = hashlib.sha256(metadata[METADATA_KEY])
        for batch in _record_batches(path, file, columns):
            try:
                with bounded_memory(str(path), path.stat().st_size):
                    rows = batch.to_pylist()
                add_rows(digest, rows, columns)
            except (ValueError, TypeError, KeyError) as error:  # bytes where text was, or a byte that is no text
                raise SFTKeyError(f"{path}: {CHANGED}: {error}") from None
            yield batch, rows
    if sealed.get(DIGEST_KEY, digest.hexdigest().encode()) != digest.hexdigest().encode():
        raise SFTKeyError(f"{path}: {CHANGED}: the digest in it differs")


def _verdict(row: dict[str, Any], metrics: Sequence[str]) -> Verdict:
    measured = tuple(row.pop(name) for name in metrics)
    choices = row["choices"]
    return Verdict(**{**row, "choices": None if choices is None else tuple(choices), "metrics": measured})
