"""Reading `verdicts.parquet`: every verdict with its provenance, or one line that says why not."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.guards.regular_file import parse_json, regular
from sftkey_data.guards.row_digest import CHANGED, DIGEST_KEY, METADATA_KEY, add_rows
from sftkey_eval.records.verdicts import VERDICT_COLUMNS, Verdict, metric_names, verdict_schema


def read_verdicts(path: Path) -> tuple[list[Verdict], dict[str, Any]]:
    """Verdicts and their provenance.

    Raises:
        SFTKeyError: No such file, not a verdicts file, one that was changed since it was written, or no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            bounded_memory(str(path), path.stat().st_size),
            pq.ParquetFile(regular(path), page_checksum_verification=True) as file,
        ):
            table, sealed = file.read(), file.metadata.metadata or {}
    except FileNotFoundError:
        raise SFTKeyError(f"verdicts file not found: {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # of a name that is no text any more
        raise SFTKeyError(f"{path}: not a readable parquet file: {' '.join(str(error).split())}") from None
    for column in VERDICT_COLUMNS:
        if column not in table.column_names:
            found = nearest(column, table.column_names)
            raise SFTKeyError(f"{path}: column {column!r} is missing{found}; write the file with `sftkey-eval score`")
        if (kind := table.schema.field(column).type) != (expected := verdict_schema().field(column).type):
            raise SFTKeyError(f"{path}: column {column!r} is of {kind}, expected {expected}")
    metadata = table.schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise SFTKeyError(f"{path}: no provenance in the parquet metadata; write the file with `sftkey-eval score`")
    if table.num_rows == 0:
        raise SFTKeyError(f"{path}: no verdicts")
    try:
        provenance = parse_json(metadata[METADATA_KEY])
        metrics = metric_names(provenance)
        columns = [*VERDICT_COLUMNS, *metrics]
        with bounded_memory(str(path), path.stat().st_size):
            rows = table.select(columns).to_pylist()
        digest = hashlib.sha256(metadata[METADATA_KEY])
        add_rows(digest, rows, columns)
    except (ValueError, TypeError, KeyError) as error:  # bytes where text was, or a byte that is no text
        raise SFTKeyError(f"{path}: {CHANGED}: {error}") from None
    if sealed.get(DIGEST_KEY, digest.hexdigest().encode()) != digest.hexdigest().encode():
        raise SFTKeyError(f"{path}: {CHANGED}: the digest in it differs")
    return [_verdict(row, metrics) for row in rows], provenance


def _verdict(row: dict[str, Any], metrics: Sequence[str]) -> Verdict:
    measured = tuple(row.pop(name) for name in metrics)
    choices = row["choices"]
    return Verdict(**{**row, "choices": None if choices is None else tuple(choices), "metrics": measured})
