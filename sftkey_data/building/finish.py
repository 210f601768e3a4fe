"""From pieces that are done to a folder that is complete: manifest, rejects, tokenizer, card."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import sftkey_data
from sftkey_data.building.build_config import config_json
from sftkey_data.building.dataset_card import dataset_card
from sftkey_data.building.plan import Plan
from sftkey_data.building.preview import first_example
from sftkey_data.building.work import PLAN, REFERENCE_ONLY, TALLIES, hashes_name
from sftkey_data.errors import Interrupted, NothingLeft, SFTKeyError
from sftkey_data.prepared.manifest import (
    LEFT_OUT,
    MANIFEST,
    REJECTS,
    TOKENIZER_FOLDER,
    Counts,
    HoldoutInfo,
    Manifest,
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


def make_manifest(plan: Plan, tallies: list[UnitTally], half: Folder, holdout: HoldoutInfo | None) -> Manifest:
    """What the build is and what became of its rows; the digests of what `finish_folder` adds are still to come."""
    total = UnitTally.sum(tallies)
    return Manifest(
        code_version=sftkey_data.__version__,
        fingerprint=plan.fingerprint,
        dataset=plan.recipe.dataset.name,
        split=plan.recipe.split,
        config=config_json(plan.config),
        tokenizer=plan.tokenizer,
        template=plan.recipe.template,
        inputs=[info for source in plan.sources for info in source.input_infos(total.rows_by_source)],
        counts=Counts(rows_read=total.read, written=total.written, rejected=total.rejected),
        rejects=dict(sorted(total.reasons.items())),
        shards=[ShardInfo(file=t.file, rows=t.written, sha256=t.sha256) for t in tallies if t.written],
        statistics={
            **total.statistics(unit="tokens" if plan.tokenizer else "characters"),
            "duplicate_questions": _count_duplicates(half, tallies),
        },
        first_row=plan.sources[0].first,
        holdout=holdout,
    )


def refuse_rejects(manifest: Manifest, half: Folder, expected: frozenset[str]) -> None:
    """Fail where more rows are rejected than allowed.

    Args:
        manifest: Of the build.
        half: The partial folder, from which the first reject is quoted.
        expected: Reasons that are no fault of the input and do not count.

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
    if not counts.written:  # no rate lets an empty folder through
        raise NothingLeft(f"{found}, so no example is left: mend the input or the options")
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
        pieces = [np.memmap(half.local_copy(name, Path(scratch)), np.uint64, "r") for name in names]  # each sorted
        num_slices = 1 + sum(map(len, pieces)) // SLICE_HASHES  # hashes are spread evenly
        borders = [int(n * 2**64 / num_slices) for n in range(1, num_slices)]
        bounds = [np.searchsorted(piece, np.array(borders, np.uint64)) for piece in pieces]
        found = 0
        for parts in zip(*(np.split(piece, cuts) for piece, cuts in zip(pieces, bounds, strict=True)), strict=True):
            hashes = np.concatenate(parts)
            found += len(hashes) - len(np.unique(hashes))
    return found


def _rejects(half: Folder) -> Iterator[dict[str, Any]]:
    for name in half.names():
        if name.startswith("rejects-"):
            yield from map(json.loads, half.read_bytes(name).splitlines())
