"""Building a prepared folder: unit by unit, resumable, and under its final name only when complete.

While it works, everything lies in `OUT.partial`; a unit that is done has its shard, its rejects and a tally there. The
manifest is written last, then the folder is renamed. The same command after an interruption goes on from the units that
are done and gives the same bytes.
"""

import json
import shutil
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sftkey_data
from sftkey_data.card import dataset_card
from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.manifest import (
    MANIFEST,
    REJECTS,
    TOKENIZER_FOLDER,
    Counts,
    Manifest,
    ShardInfo,
    file_sha256,
    read_manifest,
)
from sftkey_data.plan import BuildConfig, Plan, make_plan
from sftkey_data.prepare import prepare
from sftkey_data.schema import shard_schema
from sftkey_data.sources import Record
from sftkey_data.tally import UnitTally
from sftkey_data.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from rich.progress import Progress

BATCH_ROWS = 1_000


def build(config: BuildConfig, out: Path, *, overwrite: bool = False) -> Manifest:
    """Build a prepared folder.

    Args:
        config: What to build.
        out: The folder; it must not exist or be empty unless `overwrite`.
        overwrite: Replace what is there, once the new build is complete.

    Raises:
        SFTKeyError: Anything a user can mend; nothing is left behind then.
    """
    _refuse_output(out, overwrite=overwrite)
    plan = make_plan(config)
    partial = out.with_name(f"{out.name}.partial")
    _open_partial(partial, plan.fingerprint)
    try:
        manifest = _manifest(plan, _work(plan, partial))
        _refuse_rejects(manifest, partial)
        _finish(plan, manifest, partial)
    except SFTKeyError:
        shutil.rmtree(partial)
        raise
    _publish(partial, out)
    return manifest


def _refuse_output(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise SFTKeyError(f"output {out} is a file, expected a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise SFTKeyError(f"output folder {out} is not empty: name another --out, or replace it with --overwrite")


def _open_partial(partial: Path, fingerprint: str) -> None:
    """Keep the units of an interrupted build of the same plan; begin anew otherwise."""
    marker = partial / "plan.sha256"
    if marker.is_file() and marker.read_text() == fingerprint:
        return
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    write_whole(marker, fingerprint)


def write_whole(path: Path, content: str) -> None:
    """Write a text file that is never seen half-written; lone surrogates are written as escapes."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8", errors="backslashreplace")
    partial.rename(path)


def _work(plan: Plan, partial: Path) -> list[UnitTally]:
    """Prepare every unit that is not done yet; returns the tallies of all, in order."""
    records = plan.records()
    tallies: list[UnitTally] = []
    with progress(f"building {plan.recipe.dataset.name}", plan.num_rows()) as bar:
        for number in count():
            unit = islice(records, plan.config.shard_rows)
            done = partial / f"unit-{number:05d}.json"
            if done.is_file():
                tally = UnitTally.model_validate_json(done.read_bytes())
                bar.advance(bar.task_ids[0], sum(1 for _ in unit))  # read over the rows that this unit holds
            else:
                tally = _work_unit(plan, partial, number, unit, bar)
                write_whole(done, tally.model_dump_json())
            tallies.append(tally)
            if tally.read < plan.config.shard_rows:
                break
    return tallies


def _work_unit(plan: Plan, partial: Path, number: int, records: Iterator[Record], bar: "Progress") -> UnitTally:
    """Write one shard and its rejects, batch by batch, so that memory is bounded by the batch."""
    import pyarrow as pa

    tally = UnitTally(file=f"data-{number:05d}.arrow")
    schema = shard_schema(tokenized=plan.recipe.encoder is not None)
    shard, rejects = partial / tally.file, partial / f"rejects-{number:05d}.jsonl"
    half_shard, half_rejects = shard.with_suffix(".partial"), rejects.with_suffix(".partial")
    with (
        pa.OSFile(str(half_shard), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
        half_rejects.open("w", encoding="utf-8", errors="backslashreplace") as rejects_file,
    ):
        while batch := list(islice(records, BATCH_ROWS)):
            first = number * plan.config.shard_rows + tally.read
            unit = prepare(list(enumerate(batch, start=first)), plan.recipe)
            writer.write_table(pa.Table.from_pylist(unit.rows, schema=schema))
            rejects_file.writelines(f"{_as_json(reject)}\n" for reject in unit.rejects)
            tally.add(batch, unit)
            bar.advance(bar.task_ids[0], len(batch))
    half_shard.rename(shard)
    half_rejects.rename(rejects)
    tally.sha256 = file_sha256(shard)
    return tally


def _as_json(reject: dict[str, Any]) -> str:
    return json.dumps(reject, ensure_ascii=False, default=str)


def _manifest(plan: Plan, tallies: list[UnitTally]) -> Manifest:
    total = UnitTally.sum(tallies)
    return Manifest(
        code_version=sftkey_data.__version__,
        dataset=plan.recipe.dataset.name,
        split=plan.recipe.split,
        config=plan.config.model_dump(mode="json"),
        tokenizer=plan.tokenizer,
        template=plan.recipe.template,
        inputs=plan.input_infos(total.rows_by_source),
        counts=Counts(rows_read=total.read, written=total.written, rejected=total.rejected),
        rejects=dict(sorted(total.reasons.items())),
        shards=[ShardInfo(file=t.file, rows=t.written, sha256=t.sha256) for t in tallies if t.written],
        statistics=total.statistics(unit="tokens" if plan.tokenizer else "characters"),
    )


def _refuse_rejects(manifest: Manifest, partial: Path) -> None:
    counts = manifest.counts
    if counts.rows_read != counts.written + counts.rejected:
        raise SFTKeyError(
            f"rows do not add up: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected"
        )
    limit = manifest.config["max_reject_rate"]
    if counts.written and counts.rejected <= limit * counts.rows_read:
        return
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(manifest.rejects.items(), key=lambda item: -item[1]))
    first = next(_rejects(partial), None)
    example = (
        f"; the first: {first['source']}:{first['position']}: {first['reason']}: {first['detail']}" if first else ""
    )
    found = f"{counts.rejected} of {counts.rows_read} rows rejected ({reasons}{example})"
    raise SFTKeyError(f"{found}, at most {limit:.0%} allowed: mend the input or raise --max-reject-rate")


def _rejects(partial: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(partial.glob("rejects-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _finish(plan: Plan, manifest: Manifest, partial: Path) -> None:
    """Join the rejects, add tokenizer and card, drop what only a resumption needs; the manifest comes last."""
    with (partial / REJECTS).open("wb") as joined:
        for path in sorted(partial.glob("rejects-*.jsonl")):
            joined.write(path.read_bytes())
    if plan.recipe.encoder is not None:
        save_tokenizer(plan.recipe.encoder.tokenizer, partial / TOKENIZER_FOLDER)
    write_whole(partial / "README.md", dataset_card(manifest))
    write_whole(partial / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def _publish(partial: Path, out: Path) -> None:
    for leftover in (*partial.glob("unit-*.json"), *partial.glob("rejects-*.jsonl"), partial / "plan.sha256"):
        leftover.unlink()
    written = {shard.file for shard in read_manifest(partial).shards}
    for empty in (path for path in partial.glob("data-*.arrow") if path.name not in written):
        empty.unlink()
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
