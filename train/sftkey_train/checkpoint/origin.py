"""Which run and stage a folder of weights is of, and whether its files are as they were written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from sftkey_data.errors import SFTKeyError

ORIGIN = "origin.json"
MEND = "move or delete it, or start anew with --overwrite"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from: `run` is the hash of everything that must not change within a run."""

    run: str
    stage: str


def write_origin(folder: Path, origin: Origin) -> None:
    """Record, beside all other files of a folder, whose they are and what is in them."""
    files = {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    record = {"run": origin.run, "stage": origin.stage, "files": files}
    (folder / ORIGIN).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_origin(folder: Path, origin: Origin, *, files: bool) -> None:
    """Refuse a folder of another run or stage, or with `files`, one whose files are not those that were written.

    Raises:
        SFTKeyError: Says what was found, and what the user can do.
    """
    recorded = _read(folder)
    if (stage := recorded.get("stage")) != origin.stage:
        raise SFTKeyError(f"{folder} is of stage {stage!r}, expected one of stage {origin.stage!r}; {MEND}")
    if recorded.get("run") != origin.run:
        raise SFTKeyError(f"{folder} is of another recipe or other data than this run; {MEND}")
    for name, expected in recorded["files"].items() if files else ():
        if not (folder / name).is_file():
            raise SFTKeyError(f"{folder} is damaged: {name} is missing; {MEND}")
        if _hash(folder / name) != expected:
            raise SFTKeyError(f"{folder} is damaged: {name} is not as it was written; {MEND}")


def _read(folder: Path) -> dict[str, Any]:
    try:
        recorded: dict[str, Any] = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        _ = recorded["files"].items()
    except FileNotFoundError:
        raise SFTKeyError(f"{folder} has no {ORIGIN}, so it is of no run that can be told; {MEND}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SFTKeyError(f"{folder} is damaged: {ORIGIN} cannot be read; {MEND}") from None
    return recorded


def _hash(path: Path) -> str:
    """Against damage, not against malice; as fast as the disk."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()
