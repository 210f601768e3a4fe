"""Building a prepared folder: piece by piece, resumable, and under its final name only when complete.

While it works, everything lies in `OUT.partial`; a piece that is done has its shard, its rejects and a tally there. The
manifest is written last, then the folder gets its name. The same command after an interruption goes on from the pieces
that are done and gives the same bytes. Folders may be local or URLs.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sftkey_data
from sftkey_data import engine
from sftkey_data.build.build_config import BuildConfig, config_json
from sftkey_data.build.dataset_card import dataset_card, first_example
from sftkey_data.build.plan import Plan, make_plan, proven
from sftkey_data.build.work import hash_questions, hashes_name, tally_name, work_piece
from sftkey_data.console import progress
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.prepare.rendered_rows import DROPPED, Preparation
from sftkey_data.prepared.manifest import (
    MANIFEST,
    REJECTS,
    TOKENIZER_FOLDER,
    Counts,
    Manifest,
    ShardInfo,
    file_sha256,
)
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.sources.pieces import Piece
from sftkey_data.sources.source import refuse_changed
from sftkey_data.storage.filesystems import naming
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.fast_encoder import Mismatch
from sftkey_data.tokens.tokenizer import save_tokenizer
from sftkey_data.tokens.tokenizer_file import Opinion, TokenizerDiffers, opinion_on

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLICE_HASHES = 2**22
TEMPORARY = Path("the temporary folder ($TMPDIR)")  # as errors call it
PLAN, REFERENCE_ONLY = "plan.sha256", "reference-only"


@dataclass(frozen=True, slots=True)
class Machinery:
    """Who works: changes nothing about what is written."""

    workers: int = 1
    engine: str = "local"  # or "ray"

    def run(self, task: Callable[[Piece], Any], make_task: Callable[[], Any], pieces: Iterator[Piece]) -> Iterator[Any]:
        """Results of a task over pieces, in order."""
        if self.engine == "ray":
            return engine.run_ray(make_task, pieces)
        if self.workers == 1:
            return engine.run_here(task, pieces)
        return engine.run_processes(task, pieces, self.workers)


def build(
    config: BuildConfig, out: Path | str, *, overwrite: bool = False, machinery: Machinery = Machinery()
) -> Manifest:
    """Build a prepared folder.

    Args:
        config: What to build.
        out: The folder or URL; it must not exist or be empty unless `overwrite`.
        overwrite: Replace what is there, once the new build is complete.
        machinery: How many workers of which engine.

    Raises:
        SFTKeyError: Anything a user can mend; nothing is left behind then, but after an `Interrupted`.
    """
    final = Folder(str(out))
    half = Folder(f"{str(out).rstrip('/')}.partial")
    finished = half.exists() and MANIFEST in half.names()
    _refuse_output(final, overwrite=overwrite or finished)
    with opinion_on(config.tokenizer if not config.chat else None) as opinion:
        plan = make_plan(config, from_file=opinion is not None)
        if finished and (manifest := _same_plan(half, plan)) is not None:  # only the publishing was interrupted
            half.publish(final, last=MANIFEST)
            return manifest
        try:
            manifest = _prepared(plan, half, machinery, opinion)
        except TokenizerDiffers as difference:
            sys.stderr.write(f"{difference}: beginning again with the tokenizer that transformers gives\n")
            manifest = _prepared(make_plan(config), half, machinery)
    half.publish(final, last=MANIFEST)
    return manifest


def _prepared(plan: Plan, half: Folder, machinery: Machinery, opinion: Opinion | None = None) -> Manifest:
    """Fill the partial folder; what cannot be mended by going on leaves nothing behind."""
    _open_partial(half, plan.fingerprint)
    try:
        tallies = _work(plan, half, machinery)
        if opinion is not None and plan.unconfirmed is not None:
            opinion.confirm(plan.unconfirmed)
        manifest = _manifest(plan, tallies, half)
        for source in plan.inputs:
            refuse_changed(source)
        _refuse_rejects(manifest, half, DROPPED | plan.recipe.dataset.expected_rejects)
    except Interrupted:
        raise
    except SFTKeyError:
        half.clear()
        raise
    return _finish(plan, manifest, half)


def _refuse_output(out: Folder, *, overwrite: bool) -> None:
    if Path(out.url).is_file():
        raise SFTKeyError(f"output {out.url} is a file, expected a folder")
    if not overwrite and out.exists() and out.names():
        raise SFTKeyError(f"output folder {out.url} is not empty: name another --out, or replace it with --overwrite")


def _same_plan(half: Folder, plan: Plan) -> Manifest | None:
    """The manifest of a finished build, if the same command over the same files made it."""
    try:
        manifest = Manifest.model_validate_json(half.read_bytes(MANIFEST))
    except ValueError:  # broken: it is built anew
        return None
    return manifest if manifest.fingerprint == plan.fingerprint else None


def _open_partial(half: Folder, fingerprint: str) -> None:
    """Keep the pieces of an interrupted build of the same plan; begin anew otherwise."""
    if half.exists():
        if PLAN in half.names() and half.read_bytes(PLAN) == fingerprint.encode():
            return
        half.clear()
    half.write_bytes(PLAN, fingerprint.encode())


def _work(plan: Plan, half: Folder, machinery: Machinery) -> list[UnitTally]:
    """Prepare every piece; a finding against the fast encoder begins again with the reference."""
    recipe, said = plan.recipe, ""
    if REFERENCE_ONLY not in half.names():
        recipe, said = proven(plan)
    if said:
        sys.stderr.write(f"{said}\n")
    pieces = _without_duplicates(plan, recipe, machinery) if plan.config.dedup else plan.pieces()
    try:
        return _run(plan, recipe, half, machinery, pieces)
    except Mismatch as mismatch:
        sys.stderr.write(f"the fast encoder gives {mismatch}: beginning again with the reference encoder\n")
        half.clear()
        half.write_bytes(PLAN, plan.fingerprint.encode())
        half.write_bytes(REFERENCE_ONLY, str(mismatch).encode("utf-8", "backslashreplace"))
        pieces = _without_duplicates(plan, recipe, machinery) if plan.config.dedup else plan.pieces()
        return _run(plan, plan.recipe, half, machinery, pieces)


def _run(
    plan: Plan, recipe: Preparation, half: Folder, machinery: Machinery, pieces: Iterator[Piece]
) -> list[UnitTally]:
    done = {name for name in half.names() if name.startswith("unit-")}
    tallies: dict[str, UnitTally] = {}
    encoder = f" ({recipe.fast.name})" if recipe.fast is not None else ""
    with progress(f"building {plan.recipe.dataset.name}{encoder}", plan.num_rows()) as bar:

        def left() -> Iterator[Piece]:
            for piece in pieces:
                name = tally_name(piece.number)
                if name not in done:
                    yield piece
                    continue
                tallies[name] = UnitTally.model_validate_json(half.read_bytes(name))
                bar.advance(bar.task_ids[0], piece.num_rows)

        fast = recipe.fast is not None
        from_file = plan.unconfirmed is not None
        make_task = partial(_remake, plan.config, plan.recipe.split, half, fast=fast, from_file=from_file)
        for tally in machinery.run(partial(work_piece, recipe=recipe, folder=half), make_task, left()):
            tallies[tally_name(int(tally.file[5:10]))] = tally
            bar.advance(bar.task_ids[0], tally.read)
    return [tallies[name] for name in sorted(tallies)]


def _remake(
    config: BuildConfig, split: str, half: Folder, *, fast: bool, from_file: bool
) -> Callable[[Piece], UnitTally]:
    """The task of `_run`, made again in another process from the configuration."""
    return partial(work_piece, recipe=_remake_recipe(config, split, fast=fast, from_file=from_file), folder=half)


def _remake_recipe(config: BuildConfig, split: str, *, fast: bool = False, from_file: bool = False) -> Preparation:
    from sftkey_data.build.plan import make_recipe
    from sftkey_data.format.template import load_template
    from sftkey_data.registry import bind, load_dataset, parse_options
    from sftkey_data.tokens.fast_encoder import find_fast_encoder

    dataset = load_dataset(config.source)
    dataset = bind(dataset, parse_options(dataset, config.options))
    recipe, _ = make_recipe(config, dataset, load_template(config.template), split, from_file=from_file)
    return replace(recipe, fast=find_fast_encoder(recipe.encoder) if fast and recipe.encoder is not None else None)


def _remake_hashing(config: BuildConfig, split: str) -> Callable[[Piece], "NDArray[np.uint64]"]:
    plain = replace(config, tokenizer=None, chat=False, max_tokens=None, decontaminate=())
    return partial(hash_questions, recipe=_remake_recipe(plain, split))


def _without_duplicates(plan: Plan, recipe: Preparation, machinery: Machinery) -> Iterator[Piece]:
    """The pieces, each told which of its rows repeat an earlier question: one pass more over the input."""
    import numpy as np

    from sftkey_data.prepare.contamination import duplicates

    with progress("looking for duplicates", plan.num_rows()) as bar:
        hashes: list[NDArray[np.uint64]] = []
        make_task = partial(_remake_hashing, plan.config, plan.recipe.split)
        for found in machinery.run(partial(hash_questions, recipe=recipe), make_task, plan.pieces()):
            hashes.append(found)
            bar.advance(bar.task_ids[0], len(found))
    _, repeated = duplicates(hashes)
    for piece, rows in zip(plan.pieces(), repeated, strict=True):
        yield replace(piece, dropped=frozenset((rows + piece.first).tolist()))


def _count_duplicates(half: Folder, tallies: list[UnitTally]) -> int:
    """How many questions written repeat another one; a slice of all hashes at a time, so that memory is bounded."""
    import numpy as np

    with naming(TEMPORARY, "written", Interrupted), tempfile.TemporaryDirectory() as scratch:
        names = [hashes_name(int(tally.file[5:10])) for tally in tallies if tally.written]
        pieces = [np.memmap(half.local_copy(name, Path(scratch)), np.uint64, "r") for name in names]  # each sorted
        num_slices = 1 + sum(map(len, pieces)) // SLICE_HASHES  # hashes are spread evenly
        borders = [int(n * 2**64 / num_slices) for n in range(1, num_slices)]
        bounds = [np.searchsorted(piece, np.array(borders, np.uint64)) for piece in pieces]
        found = 0
        for parts in zip(*(np.split(piece, cuts) for piece, cuts in zip(pieces, bounds, strict=True)), strict=True):
            hashes = np.concatenate(parts)
            found += len(hashes) - len(np.unique(hashes))
    return found


def _manifest(plan: Plan, tallies: list[UnitTally], half: Folder) -> Manifest:
    total = UnitTally.sum(tallies)
    return Manifest(
        code_version=sftkey_data.__version__,
        fingerprint=plan.fingerprint,
        dataset=plan.recipe.dataset.name,
        split=plan.recipe.split,
        config=config_json(plan.config),
        tokenizer=plan.tokenizer,
        template=plan.recipe.template,
        inputs=plan.input_infos(total.rows_by_source),
        counts=Counts(rows_read=total.read, written=total.written, rejected=total.rejected),
        rejects=dict(sorted(total.reasons.items())),
        shards=[ShardInfo(file=t.file, rows=t.written, sha256=t.sha256) for t in tallies if t.written],
        statistics={
            **total.statistics(unit="tokens" if plan.tokenizer else "characters"),
            "duplicate_questions": _count_duplicates(half, tallies),
        },
    )


def _refuse_rejects(manifest: Manifest, half: Folder, expected: frozenset[str]) -> None:
    """Fail where more rows are rejected than allowed; `expected` reasons are no fault of the input and do not count."""
    counts = manifest.counts
    if counts.rows_read != counts.written + counts.rejected:
        raise SFTKeyError(
            f"rows do not add up: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected"
        )
    limit = manifest.config["max_reject_rate"]
    unusable = counts.rejected - sum(manifest.rejects.get(reason, 0) for reason in expected)
    if counts.written and unusable <= limit * counts.rows_read:
        return
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(manifest.rejects.items(), key=lambda item: -item[1]))
    first = next(_rejects(half), None)
    example = (
        f"; the first: {first['source']}:{first['position']}: {first['reason']}: {first['detail']}" if first else ""
    )
    found = f"{counts.rejected} of {counts.rows_read} rows rejected ({reasons}{example})"
    raise SFTKeyError(f"{found}, at most {limit:.0%} allowed: mend the input or raise --max-reject-rate")


def _rejects(half: Folder) -> Iterator[dict[str, Any]]:
    for name in half.names():
        if name.startswith("rejects-"):
            yield from map(json.loads, half.read_bytes(name).splitlines())


def _finish(plan: Plan, manifest: Manifest, half: Folder) -> Manifest:
    """Join the rejects, add tokenizer and card, drop what only a resumption needs; the manifest comes last."""
    names, files = half.names(), dict[str, str]()

    def put(path: Path, name: str) -> None:
        files[name] = file_sha256(path)
        half.put_file(path, name)

    with naming(TEMPORARY, "written", Interrupted), tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch) / REJECTS
        with joined.open("wb") as file:
            for name in names:
                if name.startswith("rejects-"):
                    file.write(half.read_bytes(name))
        put(joined, REJECTS)
        if plan.recipe.encoder is not None:
            save_tokenizer(plan.recipe.encoder.tokenizer, Path(scratch) / TOKENIZER_FOLDER)
            for path in sorted((Path(scratch) / TOKENIZER_FOLDER).iterdir()):
                put(path, f"{TOKENIZER_FOLDER}/{path.name}")
    manifest = manifest.model_copy(update={"files": files})
    half.write_bytes("README.md", dataset_card(manifest, first_example(plan)).encode("utf-8", "backslashreplace"))
    half.write_bytes(MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())
    written = {shard.file for shard in manifest.shards}
    for name in names:
        leftover = name.startswith(("unit-", "rejects-", "questions-", ".data-")) or name in (PLAN, REFERENCE_ONLY)
        if leftover or (name.startswith("data-") and name not in written):
            half.delete(name)
    return manifest
