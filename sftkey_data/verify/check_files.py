"""Checking what lies in a prepared folder beside its rows: the manifest, the rejects, files that nobody listed."""

import json
from collections import Counter

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import LEFT_OUT, MANIFEST, REJECTS
from sftkey_data.prepared.prepared_folder import Prepared
from sftkey_data.storage.file_bytes import open_read


def check_files(prepared: Prepared) -> None:
    """Check everything in a folder but the rows of its shards.

    Raises:
        SFTKeyError: The manifest was changed or contradicts itself; a file is missing, changed or not listed; the
            rejects, or what was left out of the rows, are not what the manifest counts.
    """
    _check_has_digest(prepared)
    _check_sums(prepared)
    _check_listed(prepared)
    _check_hashes(prepared)
    _check_rejects(prepared)
    _check_left_out(prepared)


def _check_has_digest(prepared: Prepared) -> None:
    """Whoever reads a manifest compares the digest that it has; here it has to have one."""
    if "digest" not in json.loads(prepared.raw):
        digest = prepared.manifest.digest
        raise SFTKeyError(
            f"{prepared.at(MANIFEST)}: changed since the build: it has no digest, its content {digest[:12]}…"
        )


def _check_sums(prepared: Prepared) -> None:
    manifest, counts = prepared.manifest, prepared.manifest.counts
    rows, rejects = sum(shard.rows for shard in manifest.shards), sum(manifest.rejects.values())
    sums = {
        "written + rejected + held out": (counts.rows_read, counts.written + counts.rejected + manifest.held_out),
        "rows of the shards": (counts.written, rows),
        "rejects by reason": (counts.rejected, rejects),
    }
    if manifest.inputs:
        sums["rows of the inputs"] = (counts.rows_read, sum(info.rows for info in manifest.inputs))
    if mix := manifest.mix:
        of_sources = [(one.counts.rows_read, one.counts.written, one.counts.rejected) for one in mix]
        rows_read, written, rejected = (sum(numbers) for numbers in zip(*of_sources, strict=True))
        sums["rows of the sources"] = (counts.rows_read, rows_read)
        sums["examples of the sources"] = (counts.written, written)
        sums["rejects of the sources"] = (counts.rejected, rejected)
    for name, (said, found) in sums.items():
        if said != found:
            raise SFTKeyError(f"{prepared.at(MANIFEST)}: the counts do not add up: {name}: {found}, expected {said}")


def _check_listed(prepared: Prepared) -> None:
    listed = [shard.file for shard in prepared.manifest.shards]
    there = prepared.names()
    for name in listed:
        if name not in there:
            raise SFTKeyError(f"shard {prepared.at(name)} is missing")
    if extra := [name for name in there if name.endswith(".arrow") and name not in listed]:
        raise SFTKeyError(
            f"{prepared.at(extra[0])}: the manifest lists no such shard, and whoever loads the folder reads it too"
        )


def _check_hashes(prepared: Prepared) -> None:
    for name in prepared.manifest.files:
        with prepared.on_disk(name):  # which compares it with its hash
            pass


def _check_rejects(prepared: Prepared) -> None:
    name, reasons = prepared.at(REJECTS), Counter[str]()
    if not prepared.has(REJECTS):
        raise SFTKeyError(f"{name} is missing")
    with open_read(name) as file:
        for number, line in enumerate(file, 1):
            try:
                reasons[str(json.loads(line)["reason"])] += 1
            except (ValueError, KeyError, TypeError):
                raise SFTKeyError(f"{name} line {number}: expected a JSON object with a reason") from None
    if dict(reasons) != prepared.manifest.rejects:
        raise SFTKeyError(f"{name}: holds {_said(reasons)}; the manifest says {_said(prepared.manifest.rejects)}")


def _check_left_out(prepared: Prepared) -> None:
    name, found = prepared.at(LEFT_OUT), Counter[str]()
    if prepared.has(LEFT_OUT):
        with open_read(name) as file:
            for number, line in enumerate(file, 1):
                try:
                    found.update({str(what) for what, _ in json.loads(line)["left_out"]})
                except (ValueError, KeyError, TypeError):
                    raise SFTKeyError(f"{name} line {number}: expected a JSON object with left_out") from None
    if dict(found) != (said := prepared.manifest.statistics.get("left_out", {})):
        raise SFTKeyError(f"{name}: holds {dict(sorted(found.items()))}; the manifest says {said}")


def _said(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items())) or "no rejects"
