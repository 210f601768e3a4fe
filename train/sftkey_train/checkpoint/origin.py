"""Which run and stage a folder of weights is of, and whether its files are as they were written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import regular
from sftkey_data.storage.filesystems import naming
from sftkey_data.storage.sealed_json import read_sealed, sealed_file

ORIGIN, ADAPTER_CONFIG = "origin.json", "adapter_config.json"
# What decides which model a folder is, beside the tokenizer, which is compared with that of the data.
MODEL_FILES = ("*.safetensors", "*.index.json", "config.json", "generation_config.json", ADAPTER_CONFIG, "*.py")
MEND = "move or delete it, or start anew with --overwrite"
CHANGED_ON_PURPOSE = "a model that was changed on purpose goes without its origin.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from: `run` is the hash of everything that must not change within a run."""

    run: str
    stage: str


def write_origin(folder: Path, origin: Origin) -> None:
    """Record, beside all other files of a folder, whose they are and what is in them."""
    files = {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    record = {"run": origin.run, "stage": origin.stage, "files": files}
    (folder / ORIGIN).write_bytes(sealed_file(record))


def has_origin(folder: Path) -> bool:
    """Whether a folder was written by a run, so that a run may delete it."""
    return not folder.is_symlink() and (folder / ORIGIN).is_file()


def check_origin(folder: Path, origin: Origin, *, files: bool) -> None:
    """Refuse a folder of another run or stage, or with `files`, one whose files are not those that were written.

    Raises:
        SFTKeyError: Says what was found, and what the user can do.
    """
    recorded = read_origin(folder, MEND)
    if (stage := recorded.get("stage")) != origin.stage:
        raise SFTKeyError(f"{folder} is of stage {stage!r}, expected one of stage {origin.stage!r}; {MEND}")
    if recorded.get("run") != origin.run:
        raise SFTKeyError(f"{folder} is of another recipe or other data than this run; {MEND}")
    if not files:
        return
    found = {name: _hash(folder / name) for name in recorded["files"] if (folder / name).is_file()}
    _refuse_changed(folder, recorded["files"], found, MEND)
    if (folder / ADAPTER_CONFIG).exists() and ADAPTER_CONFIG not in recorded["files"]:
        # transformers would load an adapter into the model without a word
        raise SFTKeyError(f"{folder} holds {ADAPTER_CONFIG}, which was not written with it; {MEND}")


def written_files(folder: Path, mend: str = CHANGED_ON_PURPOSE) -> list[str]:
    """The names of all files that were written with a folder of weights, each of which is as it was.

    Args:
        folder: Of weights.
        mend: What the user can do where one is not.

    Raises:
        SFTKeyError: It is of no run, or one is missing or damaged.
    """
    recorded = read_origin(folder, mend)["files"]
    found = {name: _hash(folder / name) for name in recorded if (folder / name).is_file()}
    _refuse_changed(folder, recorded, found, mend)
    return list(recorded)


def model_hash(folder: Path) -> str:
    """Hash of the files that make a model, each read once; those that a run of ours has left must be as it wrote them.

    Raises:
        SFTKeyError: One is damaged, or cannot be read.
    """
    paths = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    found = {path.name: _hash(path) for path in paths}
    if (folder / ORIGIN).exists():
        recorded = read_origin(folder, CHANGED_ON_PURPOSE)["files"].items()
        beside = {k: v for k, v in recorded if "/" not in k and any(map(Path(k).match, MODEL_FILES))}
        _refuse_changed(folder, beside, found, CHANGED_ON_PURPOSE)
    return xxhash.xxh3_128_hexdigest(json.dumps(found, sort_keys=True).encode())


def _refuse_changed(folder: Path, recorded: dict[str, str], found: dict[str, str], mend: str) -> None:
    for name, expected in recorded.items():
        if name not in found:
            raise SFTKeyError(f"{folder} is damaged: {name} is missing; {mend}")
        if found[name] != expected:
            raise SFTKeyError(f"{folder} is damaged: {name} is not as it was written; {mend}")


def read_origin(folder: Path, mend: str) -> dict[str, Any]:
    """What `write_origin` has recorded; `mend` says what the user can do where that is damaged.

    Raises:
        SFTKeyError: It is damaged, or there is none.
    """
    try:
        recorded: dict[str, Any] = read_sealed(folder / ORIGIN, mend)
        _ = recorded["files"].items()
    except FileNotFoundError:
        raise SFTKeyError(f"{folder} has no {ORIGIN}, so it is of no run that can be told; move it away") from None
    except (OSError, SFTKeyError, KeyError, TypeError, AttributeError):
        raise SFTKeyError(f"{folder} is damaged: {ORIGIN} cannot be read; {mend}") from None
    return recorded


def _hash(path: Path) -> str:
    """Against damage, not against malice; as fast as the disk."""
    digest = xxhash.xxh3_128()
    with naming(path, "read", SFTKeyError), regular(path).open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()
