"""Prepared shards in the forms that other trainers read: one file per shard, all under the final name or none.

Sources of the forms: `trl`: SFTTrainer's pre-tokenised datasets (`input_ids`, `labels`), laid out as
`datasets.DatasetDict.save_to_disk` does; `axolotl`: its "Custom Pre-Tokenized Dataset" (`input_ids`, `attention_mask`,
`labels`, an empty `type:`).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.export.export_card import axolotl_config, export_card
from sftkey_data.export.exported import Exported
from sftkey_data.prepared.labels import label_column, parse_loss_on
from sftkey_data.prepared.manifest import TOKENIZER_FOLDER, ShardInfo
from sftkey_data.prepared.prepared_folder import Prepared, local_folder, open_prepared
from sftkey_data.storage.output_folder import Folder

PART_ROWS = 20_000
SOURCE_MANIFEST = "source-manifest.json"
"""Not `manifest.json`: an export is no prepared folder."""

Write = Callable[[Path, Iterator[pa.Table]], None]


def export(
    directory: Path | str, out: Path | str, *, to: str, loss_on: str | None = None, overwrite: bool = False
) -> Exported:
    """Write a prepared folder in another form.

    Args:
        directory: Folder written by a build, local or a URL.
        out: Folder or URL to write; it must not exist or be empty unless `overwrite`.
        to: `trl`, `axolotl`, `parquet` or `jsonl`.
        loss_on: Words for the regions whose tokens are labels (`trl`, `axolotl`); the whole completion when None.
        overwrite: Replace what is there, once the export is complete.

    Raises:
        SFTKeyError: A damaged shard, no tokens, an example without a target, or an output that is in the way; nothing
            is left behind then.
    """
    prepared = open_prepared(directory)
    done = Exported(to, prepared.manifest.datasets_split, _regions(prepared, to, loss_on))
    final = Folder(str(out).rstrip("/"))
    half = Folder(f"{final.url}.partial")
    with final.locked():
        _refuse_output(prepared, final, overwrite=overwrite)
        return _exported(prepared, half, final, done)


def _exported(prepared: Prepared, half: Folder, final: Folder, done: Exported) -> Exported:
    half.refuse_foreign()
    if half.exists():
        half.clear()
    try:
        half.mark()
        _write_shards(prepared, half, done)
        _write_beside(prepared, half, final.url, done)
        half.publish(final, last=SOURCE_MANIFEST)
    except BaseException as error:
        if half.exists():
            half.clear()
        if isinstance(error, OSError):
            raise SFTKeyError(f"{final.url} cannot be written: {error.strerror or error}") from None
        raise
    return done


def _regions(prepared: Prepared, to: str, loss_on: str | None) -> tuple[str, ...]:
    if to not in FORMS:
        raise SFTKeyError(f"--to {to!r}: expected {', '.join(FORMS)}{nearest(to, FORMS)}")
    if not FORMS[to].labels:
        if loss_on is not None:
            raise SFTKeyError(f"--loss-on chooses labels, and {to} has none: it holds every column; drop --loss-on")
        return ()
    if prepared.manifest.tokenizer is None:
        raise SFTKeyError(f"{prepared.name} holds no tokens, and {to} needs them: expected a build with --tokenizer")
    return parse_loss_on("completion" if loss_on is None else loss_on)


def _refuse_output(prepared: Prepared, out: Folder, *, overwrite: bool) -> None:
    place, source = local_folder(out.url), prepared.local
    inside = place is not None and source is not None and source.resolve().is_relative_to(place.resolve())
    if inside or f"{prepared.name.rstrip('/')}/".startswith(f"{out.url.rstrip('/')}/"):
        raise SFTKeyError(f"--out {out.url} holds the prepared folder {prepared.name} itself: name another")
    out.refuse_foreign()
    if not overwrite and out.exists() and out.names():
        raise SFTKeyError(f"output folder {out.url} is not empty: name another --out, or replace it with --overwrite")


def _write_shards(prepared: Prepared, half: Folder, done: Exported) -> None:
    form, manifest = FORMS[done.to], prepared.manifest
    with progress(f"exporting {prepared.title}", manifest.counts.written) as bar:

        def parts(shard: ShardInfo) -> Iterator[pa.Table]:
            with prepared.shard(shard) as table:
                for start in range(0, table.num_rows, PART_ROWS):
                    part = table.slice(start, PART_ROWS)
                    yield done.count(_labelled(part, done.regions, form.labels) if form.labels else part)
                    bar.advance(bar.task_ids[0], part.num_rows)

        for number, shard in enumerate(manifest.shards):
            name = form.file.format(split=done.split, number=number)
            with half.appearing_path(name) as path:
                form.write(path, parts(shard))
            done.files.append(name)


def _labelled(part: pa.Table, regions: tuple[str, ...], columns: tuple[str, ...]) -> pa.Table:
    batches = []
    for batch in part.to_batches():
        labels = label_column(batch, regions)
        ones = pa.array(np.ones(len(labels.values), np.int8))
        made = {
            "input_ids": batch.column("input_ids"),
            "attention_mask": pa.ListArray.from_arrays(labels.offsets, ones),
            "labels": labels,
        }
        batches.append(pa.record_batch({name: made[name] for name in columns}))
    return pa.Table.from_batches(batches)


def _write_stream(path: Path, parts: Iterator[pa.Table]) -> None:
    """Arrow's stream format, the one that `load_from_disk` maps into memory."""
    first = next(parts)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def _write_parquet(path: Path, parts: Iterator[pa.Table]) -> None:
    first = next(parts)
    with pq.ParquetWriter(str(path), first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def _write_jsonl(path: Path, parts: Iterator[pa.Table]) -> None:
    encode = msgspec.json.Encoder().encode_lines
    with path.open("wb") as file:
        for part in parts:
            for batch in part.to_batches(max_chunksize=1_000):  # ids as Python integers need many times their memory
                file.write(encode(batch.to_pylist()))


@dataclass(frozen=True, slots=True)
class _Form:
    """One form: the name of a shard's file, how it is written, and its columns where they are made from labels."""

    file: str
    write: Write
    labels: tuple[str, ...] = ()


FORMS: Mapping[str, _Form] = {
    "trl": _Form("{split}/data-{number:05d}.arrow", _write_stream, ("input_ids", "labels")),
    "axolotl": _Form("data-{number:05d}.parquet", _write_parquet, ("input_ids", "attention_mask", "labels")),
    "parquet": _Form("data-{number:05d}.parquet", _write_parquet),
    "jsonl": _Form("data-{number:05d}.jsonl", _write_jsonl),
}


def _write_beside(prepared: Prepared, half: Folder, out: str, done: Exported) -> None:
    """What explains and loads the files: card, configuration, tokenizer, and the manifest they come from."""
    manifest = prepared.manifest
    if manifest.tokenizer is not None:
        with prepared.tokenizer_folder() as tokenizer:
            for path in sorted(tokenizer.iterdir()):
                half.write_bytes(f"{TOKENIZER_FOLDER}/{path.name}", path.read_bytes())
    if done.to == "trl":
        for name, content in _dataset_dict(prepared, done).items():
            half.write_bytes(name, json.dumps(content, indent=2).encode())
    if done.to == "axolotl":
        half.write_bytes("axolotl.yaml", axolotl_config(manifest, out, done.split, done.longest).encode())
    card = export_card(manifest, out, done)
    half.write_bytes("README.md", card.encode("utf-8", "backslashreplace"))
    half.write_bytes(SOURCE_MANIFEST, prepared.raw)


def _dataset_dict(prepared: Prepared, done: Exported) -> dict[str, object]:
    """The JSON files of `DatasetDict.save_to_disk`; with one split below, `load_dataset` opens the folder as well."""
    from datasets import Features, List, Value

    features = Features(dict.fromkeys(FORMS["trl"].labels, List(Value("int32"))))
    identity = f"{hashlib.sha256(prepared.raw).hexdigest()} {' '.join(done.regions)}"
    state: dict[str, object] = {
        "_data_files": [{"filename": Path(name).name} for name in done.files],
        "_fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:16],  # as long as those that `datasets` makes
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": done.split,
    }
    return {
        "dataset_dict.json": {"splits": [done.split]},
        f"{done.split}/dataset_info.json": {"features": features.to_dict()},
        f"{done.split}/state.json": state,
    }
