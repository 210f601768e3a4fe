"""Checking a prepared folder: its files, every row, and with `full` every row against the tokenizer.

Bytes are compared with the manifest's hashes, the manifest with its own digest. Beyond that, what the rows say is
derived again, so that rows that were wrong from the start are found too: ids from the count, spans and gold from the
template, borders from the tokens, counts and statistics from all of them. Nothing in a folder can say that an answer
type, the choices, or the wording of a text-only row is right: only building it again can.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data import engine
from sftkey_data.arrays import Int64s
from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, Manifest, ShardInfo
from sftkey_data.prepared.prepared_folder import Prepared, open_prepared
from sftkey_data.process_pool import run_processes
from sftkey_data.schema import shard_schema
from sftkey_data.tokens.tokenizer import Encoder
from sftkey_data.verify.batch_proof import proven_rows
from sftkey_data.verify.check_files import check_files
from sftkey_data.verify.manifest_facts import fact_faults, id_ranges
from sftkey_data.verify.row_faults import row_faults
from sftkey_data.verify.shard_statistics import MeasuredShard, measure_shard, shard_statistics
from sftkey_data.verify.token_bytes import CheckedBytes, checked_bytes

CHECKED_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Checker:
    """What a worker needs to check a shard."""

    prepared: Prepared
    encoder: Encoder | None
    alphabet: CheckedBytes | None
    full: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """A shard that is in order: the places of its first and last row, how many are of each source, its lengths."""

    first: int
    last: int
    by_source: Int64s
    measured: MeasuredShard


def check(directory: Path | str, *, full: bool = False, workers: int = 1) -> Manifest:
    """Check a prepared folder, local or by URL; returns its manifest when everything holds.

    Args:
        directory: Folder written by a build.
        full: Also encode every row again and compare ids and borders.
        workers: Processes, each of which checks one shard at a time.

    Raises:
        SFTKeyError: Names the first file, or shard and row, that is off, and how.
    """
    with tempfile.TemporaryDirectory(prefix="sftkey-check-", ignore_cleanup_errors=True) as scratch:
        prepared = open_prepared(directory, scratch)
        manifest = prepared.manifest
        check_files(prepared)
        encoder = prepared.encoder()
        alphabet = checked_bytes(encoder) if encoder is not None else None
        checker = Checker(prepared, encoder, alphabet, full)
        measured, before, by_source = [], -1, np.zeros(len(id_ranges(manifest)), np.int64)
        with progress(f"checking {prepared.title}", manifest.counts.written) as bar:
            for shard, done in zip(manifest.shards, _run(checker, workers), strict=True):
                if done.first <= before:
                    raise SFTKeyError(
                        f"{prepared.at(shard.file)} row 0: id stands twice or out of order: number {done.first} after "
                        f"{before}"
                    )
                before, by_source = done.last, by_source + done.by_source
                measured.append(done.measured)
                bar.advance(bar.task_ids[0], shard.rows)
    _check_statistics(prepared, measured)
    for one, found in zip(manifest.mix, by_source.tolist(), strict=False):
        if one.counts.written != found:
            said = f"{one.dataset}/{one.split}: {one.counts.written} written, the shards hold {found}"
            raise SFTKeyError(f"{prepared.at(MANIFEST)}: mix: {said}")
    return manifest


def _run(checker: Checker, workers: int) -> Iterator[Checked]:
    shards = checker.prepared.manifest.shards
    task = partial(check_shard, checker=checker)
    workers = min(workers, len(shards))
    if workers < 2:
        return engine.run_here(task, shards)
    # fork: the tokenizer is loaded by now, and shared
    return run_processes(task, shards, workers, start="fork", hint="fewer --workers need less memory")


def check_shard(shard: ShardInfo, checker: Checker) -> Checked:
    """Check one shard.

    Raises:
        SFTKeyError: Names the first row that is off.
    """
    prepared = checker.prepared
    name = prepared.at(shard.file)
    ends: list[int] = []
    begins = np.array([ids.place for ids in id_ranges(prepared.manifest)])
    by_source = np.zeros(len(begins), np.int64)
    with prepared.shard(shard) as table:
        _check_table(table, name, tokenized=checker.encoder is not None)
        first = 0
        for batch in table.to_batches(CHECKED_ROWS):
            places = _check_batch(batch, first, ends[-1] if ends else -1, name, checker)
            ends += places[[0, -1]].tolist() if len(places) else []
            of_row = np.searchsorted(begins, places, side="right") - 1
            by_source += np.bincount(of_row, minlength=len(begins))
            first += batch.num_rows
        measured = measure_shard(table)
    if not ends:
        raise SFTKeyError(f"{name}: holds no rows")
    return Checked(ends[0], ends[-1], by_source, measured)


def _check_table(table: pa.Table, name: str, *, tokenized: bool) -> None:
    if table.schema != shard_schema(tokenized=tokenized):
        raise SFTKeyError(f"{name}: its columns are not those of the schema")
    for field in table.schema:
        column = table[field.name]
        if not field.nullable and column.null_count:
            raise SFTKeyError(f"{name} row {pc.index(pc.is_null(column), True).as_py()}: {field.name} is null")
    if tokenized and pc.list_flatten(table["input_ids"]).null_count:
        raise SFTKeyError(f"{name}: one of the input_ids is null")


def _check_batch(batch: pa.RecordBatch, first: int, before: int, name: str, checker: Checker) -> Int64s:
    """Check rows; returns their places. `first` is the number of the first row, `before` the place of the last one."""
    manifest = checker.prepared.manifest
    facts, places = fact_faults(batch, before, manifest)
    suspected = ~proven_rows(batch, manifest.template, checker.encoder, checker.alphabet, full=checker.full)
    suspected[list(facts)] = True
    suspects = np.flatnonzero(suspected)
    if not len(suspects):
        return places
    rows = batch.take(suspects.tolist()).to_pylist()
    again = checker.full or checker.alphabet is not None  # few rows then, and only the reference knows their borders
    faults = row_faults(rows, manifest.template, checker.encoder, full=again)
    for row, index, fault in zip(rows, suspects.tolist(), faults, strict=True):
        if (found := facts.get(index, fault)) is not None:
            raise SFTKeyError(f"{name} row {first + index} ({row['id']}): {found}")
    return places


def _check_statistics(prepared: Prepared, shards: list[MeasuredShard]) -> None:
    manifest = prepared.manifest
    for name, found in shard_statistics(shards, "tokens" if manifest.tokenizer else "characters").items():
        if (said := manifest.statistics.get(name)) != found:
            raise SFTKeyError(f"{prepared.at(MANIFEST)}: statistics.{name} is {said}, the shards give {found}")
