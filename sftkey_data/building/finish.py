"""From pieces that are done to a folder that is complete: manifest, rejects, tokenizer, card."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sftkey_data
from sftkey_data.building.build_config import config_json
from sftkey_data.building.dataset_card import dataset_card
from sftkey_data.building.plan import Plan
from sftkey_data.building.preview import first_example
from sftkey_data.building.work import PLAN, REFERENCE_ONLY, TALLIES, hashes_name
from sftkey_data.errors import Interrupted, NothingLeft, SFTKeyError
from sftkey_data.prepare.rendered_rows import DROPPED, HELD_OUT_COPY, NOT_DRAWN
from sftkey_data.prepared.manifest import (
    LEFT_OUT,
    MANIFEST,
    REJECTS,
    TOKENIZER_FOLDER,
    Counts,
    HoldoutInfo,
    Manifest,
    MixedSource,
    ShardInfo,
    file_sha256,
)
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.storage.filesystems import naming
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.tokenizer_copy import save_tokenizer

OF_PIECES = (TALLIES, "rejects-", "left-out-", "questions-", ".data-")
SLICE_HASHES = 2**22  # 32 MB of hashes are sorted at a time
TEMPORARY = Path("the temporary folder ($TMPDIR)")  # as errors call it


def make_manifest(
    plan: Plan, tallies: list[UnitTally], half: Folder, holdout: HoldoutInfo | None, main: Manifest | None = None
) -> Manifest:
    """What the build is and what became of its rows; the digests of what `finish_folder` adds are still to come.

    Args:
        plan: Of the build.
        tallies: Of the pieces that are done.
        half: The partial folder.
        holdout: What it says of the other folder.
        main: Of what is held out, the manifest of the build itself.
    """
    total = UnitTally.sum(tallies)
    by_source = [[t for t in tallies if plan.numbers[t.reading] == number] for number in range(len(plan.sources))]
    each = [UnitTally.sum(some) for some in by_source]
    infos = (source.input_infos(one.rows_by_source) for source, one in zip(plan.sources, each, strict=True))
    return Manifest(
        code_version=sftkey_data.__version__,
        fingerprint=plan.fingerprint,
        dataset=plan.name,
        split=plan.split,
        config=config_json(plan.config),
        tokenizer=plan.tokenizer,
        template=plan.recipe.template,
        inputs=list(chain.from_iterable(infos)),
        counts=_counts(total),
        rejects=dict(sorted(total.reasons.items())),
        shards=[ShardInfo(file=t.file, rows=t.written, sha256=t.sha256) for t in tallies if t.written],
        statistics={
            **total.statistics(unit="tokens" if plan.tokenizer else "characters"),
            "duplicate_questions": _count_duplicates(half, tallies),
        },
        first_row=plan.sources[0].first if plan.mix is None else 0,
        holdout=holdout,
        mix=_mixed_sources(plan, each, main) if plan.mix is not None else [],
    )


def _counts(tally: UnitTally) -> Counts:
    return Counts(rows_read=tally.read, written=tally.written, rejected=tally.rejected)


def _mixed_sources(plan: Plan, tallies: Sequence[UnitTally], main: Manifest | None) -> list[MixedSource]:
    return [
        MixedSource(
            source=source.asked.source,
            dataset=source.dataset.name,
            split=source.asked.label,
            weight=source.asked.weight,
            seed=source.asked.seed,
            inputs=[one.name for one in source.inputs],
            where=list(source.asked.where),
            limit=source.asked.limit,
            options=source.asked.options,
            first_row=source.first,
            rows=main.mix[number].rows if main is not None else tally.read,
            counts=_counts(tally),
            rejects=dict(sorted(tally.reasons.items())),
        )
        for number, (source, tally) in enumerate(zip(plan.sources, tallies, strict=True))
    ]


def refuse_rejects(manifest: Manifest, half: Folder, plan: Plan) -> None:
    """Fail where more rows are rejected than allowed: of a mix, in any of its sources.

    Raises:
        NothingLeft: All are rejected.
        SFTKeyError: Too many are, or the rows do not add up.
    """
    counts = manifest.counts
    if counts.rows_read != counts.written + counts.rejected + manifest.held_out:
        raise SFTKeyError(
            f"rows do not add up: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected,"
            f" {manifest.held_out} held out"
        )
    if plan.mix is None:
        expected = DROPPED | plan.recipe.dataset.expected_rejects
        _refuse(manifest, counts, manifest.rejects, expected, counts.written, _rejects(half))
        return
    for source, one in zip(plan.sources, manifest.mix, strict=True):
        recipe = plan.recipes[plan.numbers.index(source.asked.number - 1)]
        expected = DROPPED | {NOT_DRAWN, HELD_OUT_COPY} | recipe.dataset.expected_rejects
        prefix = f"{one.dataset}/{one.split}/"
        own = (r for r in _rejects(half) if r["id"].startswith(prefix) and r["reason"] not in expected)
        try:
            _refuse(manifest, one.counts, one.rejects, expected, one.rows - one.counts.rejected, own)
        except NothingLeft as error:
            raise NothingLeft(f"{source.asked.place}: {error}", error.reasons) from None
        except SFTKeyError as error:
            raise SFTKeyError(f"{source.asked.place}: {error}") from None
    if not counts.written:
        raise NothingLeft(f"all {manifest.held_out} examples are held out, so none is left: a smaller --holdout")


def _refuse(
    manifest: Manifest,
    counts: Counts,
    rejects: Mapping[str, int],
    expected: frozenset[str],
    left: int,
    quoted: Iterator[dict[str, Any]],
) -> None:
    """Fail where more rows are rejected than allowed.

    Args:
        manifest: Of the build.
        counts: Of its rows, or of those of a source.
        rejects: Of these rows, by reason.
        expected: Reasons that are no fault of the input and do not count.
        left: How many examples there are.
        quoted: Rejects, the first of which is quoted.
    """
    limit, rows = manifest.config["max_reject_rate"], counts.rows_read
    if NOT_DRAWN in expected:  # of a mix; the others are rejects and examples of the rows that are drawn
        rows -= rejects.get(NOT_DRAWN, 0)
    unusable = counts.rejected - sum(rejects.get(reason, 0) for reason in expected)
    if left and unusable <= limit * rows:
        return
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(rejects.items(), key=lambda item: -item[1]))
    first = next(quoted, None)
    example = (
        f"; the first: {first['source']}:{first['position']}: {first['reason']}: {first['detail']}" if first else ""
    )
    found = f"{counts.rejected} of {counts.rows_read} rows rejected ({reasons}{example})"
    if not left:  # no rate lets an empty folder through
        raise NothingLeft(f"{found}, so no example is left: mend the input or the options", reasons)
    raise SFTKeyError(f"{found}, at most {100 * limit:g}% allowed: mend the input or raise --max-reject-rate")


def finish_folder(plan: Plan, manifest: Manifest, half: Folder) -> Manifest:
    """Join the rejects, add tokenizer and card, drop what only a resumption needs; the manifest comes last."""
    names, files = half.names(), dict[str, str]()

    def put(path: Path, name: str) -> None:
        files[name] = file_sha256(path)
        half.put_file(path, name)

    with naming(TEMPORARY, "written", Interrupted), tempfile.TemporaryDirectory() as scratch:
        for whole, piece in ((REJECTS, "rejects-"), (LEFT_OUT, "left-out-")):
            pieces = [name for name in names if name.startswith(piece)]
            if not pieces and whole == LEFT_OUT:  # most datasets leave nothing out
                continue
            with (Path(scratch) / whole).open("wb") as file:
                for name in pieces:
                    file.write(half.read_bytes(name))
            put(Path(scratch) / whole, whole)
        if plan.recipe.encoder is not None:
            encoder = plan.recipe.encoder
            save_tokenizer(encoder.tokenizer, Path(scratch) / TOKENIZER_FOLDER, encoder.eos_token_id)
            for path in sorted((Path(scratch) / TOKENIZER_FOLDER).iterdir()):
                put(path, f"{TOKENIZER_FOLDER}/{path.name}")
    manifest = manifest.model_copy(update={"files": files})
    card = dataset_card(manifest, first_example(plan, held=_is_held(manifest)))
    half.write_bytes("README.md", card.encode("utf-8", "backslashreplace"))
    half.write_bytes(MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())
    drop_leftovers(manifest, half)
    return manifest


def drop_leftovers(manifest: Manifest, half: Folder) -> None:
    """Remove what only a resumption needs, and shards without rows."""
    written = {shard.file for shard in manifest.shards}
    for name in half.names():
        leftover = name.startswith(OF_PIECES) or name in (PLAN, REFERENCE_ONLY)
        if leftover or (name.startswith("data-") and name not in written):
            half.delete(name)


def _is_held(manifest: Manifest) -> bool:
    return manifest.holdout is not None and manifest.holdout.part == "holdout"


def _count_duplicates(half: Folder, tallies: list[UnitTally]) -> int:
    """How many questions written repeat another one; a slice of all hashes at a time, so that memory is bounded."""
    with naming(TEMPORARY, "written", Interrupted), tempfile.TemporaryDirectory() as scratch:
        # an empty file cannot be mapped into memory; data-00012.arrow is piece 12
        names = [hashes_name(int(tally.file[5:10])) for tally in tallies if tally.written]
        paths = [half.local_copy(name, Path(scratch)) for name in names]
        num_slices = 1 + sum(tally.written for tally in tallies) // SLICE_HASHES  # hashes are spread evenly
        borders = np.array([int(n * 2**64 / num_slices) for n in range(1, num_slices)], np.uint64)
        bounds = [_bounds(path, borders) for path in paths]
        found = 0
        for number in range(num_slices):
            slices = ((path, of[number : number + 2]) for path, of in zip(paths, bounds, strict=True))
            # read, as what is mapped would stay in memory
            parts = [np.fromfile(path, np.uint64, to - at, offset=8 * at) for path, (at, to) in slices]
            hashes = np.concatenate([np.empty(0, np.uint64), *parts])
            hashes.sort()  # in place: no second copy of the slice
            found += int(np.count_nonzero(hashes[1:] == hashes[:-1]))
    return found


def _bounds(path: Path, borders: NDArray[np.uint64]) -> list[int]:
    """Where each slice begins in a file of sorted hashes, and where the last one ends."""
    hashes = np.memmap(path, np.uint64, "r")
    return [0, *np.searchsorted(hashes, borders).tolist(), len(hashes)]


def _rejects(half: Folder) -> Iterator[dict[str, Any]]:
    for name in half.names():
        if name.startswith("rejects-"):
            yield from map(json.loads, half.read_bytes(name).splitlines())
