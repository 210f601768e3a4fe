"""What the rows held that the examples do not hold: in words, and of single examples."""

import json
from collections.abc import Iterable
from typing import Any

from sftkey_data.extract.training_flags import FLAG
from sftkey_data.prepared.manifest import LEFT_OUT, Manifest
from sftkey_data.prepared.prepared_folder import Prepared

WORDS = {"earlier_answers": "earlier answers are in the prompt, and not trained on"}


def left_out_lines(manifest: Manifest) -> list[str]:
    """One line for each kind of thing: of how many examples, and the first; empty where nothing was left out."""
    firsts = manifest.statistics.get("first_left_out", {})
    user = repr(manifest.dataset) if not manifest.mix else "the dataset"
    lines = []
    for name, n in manifest.statistics.get("left_out", {}).items():
        what = (
            f"{name.removeprefix(FLAG)!r} is set, and {user} does not use it"
            if name.startswith(FLAG)
            else WORDS.get(name, f"{name.replace('_', ' ')} left out")
        )
        lines.append(f"{n} of {manifest.counts.written} examples: {what}; the first is {firsts[name]}")
    return lines


def left_out_of(prepared: Prepared, ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """(name, text) of what the rows of some examples held besides, by id; the file is read up to the last of them."""
    wanted, found = set(ids), dict[str, list[tuple[str, str]]]()
    if not prepared.has(LEFT_OUT):
        return found
    last = max((_number(row_id) for row_id in wanted), default=-1)
    with prepared.on_disk(LEFT_OUT) as path, path.open("rb") as file:
        for line in file:
            entry: dict[str, Any] = json.loads(line)
            if _number(entry["id"]) > last and not prepared.manifest.mix:  # they stand in the order of the rows
                break
            if entry["id"] in wanted:
                found[entry["id"]] = [(name, text) for name, text in entry["left_out"]]
    return found


def _number(row_id: str) -> int:
    return int(row_id.rpartition("/")[2])
