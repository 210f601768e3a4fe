"""The files of a model: where they are and what they hash to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.regular_file import regular
from sftkey_data.storage.sealed_json import read_sealed

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")
DESCRIPTION = ("config.json", "generation_config.json", "*.index.json")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk (or in the hub cache) and the SHA-256 over its configuration and weights."""

    name: str
    directory: Path
    fingerprint: str

    @property
    def recipe(self) -> dict[str, Any]:
        """The resolved training recipe beside the weights, or an empty mapping where none can be read.

        Raises:
            SFTKeyError: It is not as it was written.
        """
        try:
            recipe = read_sealed(self.directory / "recipe.json", "without it no training seed is recorded")
        except OSError:
            return {}
        return recipe if isinstance(recipe, dict) else {}

    @property
    def short_name(self) -> str:
        """`answer` for `…/answer/final`, else the last part of the name."""
        path = Path(self.name)
        resolved = path.resolve() if path.is_dir() else path
        return resolved.parent.name if resolved.name == "final" else resolved.name


def find_model(name: str) -> ModelFiles:
    """The model of a local directory or a hub name; weights of a directory are read once, to hash them.

    Raises:
        SFTKeyError: Nothing is there, or the directory does not hold a model.
    """
    path = Path(name)
    if path.is_dir():
        return ModelFiles(name, path, _hash_directory(path))
    directory = _hub_snapshot(name)
    # A snapshot's folder is named after its commit, which fixes config and weights alike.
    return ModelFiles(name, directory, hashlib.sha256(f"{name}@{directory.name}".encode()).hexdigest())


def name_server_model(name: str, address: str) -> ModelFiles:
    """A model that only a server has: its name at that address stands for its files, which may change unseen."""
    return ModelFiles(name, Path(name), hashlib.sha256(f"{name} at {address}".encode()).hexdigest())


def _hash_directory(directory: Path) -> str:
    if not (directory / "config.json").is_file():
        inside = sorted(str(path.parent) for path in directory.glob("*/config.json"))
        hint = f" (did you mean {inside[-1]!r}?)" if inside else ""
        raise SFTKeyError(f"model {str(directory)!r}: the folder holds no config.json{hint}")
    weights = {path for pattern in WEIGHT_FILES for path in directory.glob(pattern)}
    if not weights:
        raise SFTKeyError(f"model {str(directory)!r}: no weights, expected {' or '.join(WEIGHT_FILES)}")
    described = {path for pattern in DESCRIPTION for path in directory.glob(pattern)}
    total = hashlib.sha256()
    for path in sorted(weights | described):
        with regular(path).open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _hub_snapshot(name: str) -> Path:
    from transformers.utils.hub import cached_file  # here, as a folder is found without it

    path = Path(name)
    # Names of the hub are NAME or OWNER/NAME, so more than one slash is a path.
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or path.parent.is_dir()
    if path.exists() or (looks_like_path and "/" in name):
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise SFTKeyError(f"model {name!r} is not there: no such folder{nearest(path.name, siblings)}")
    try:
        found = cached_file(name, "config.json")
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"model {name!r} is neither a folder nor a model of the hub: {first_line}") from None
    return Path(str(found)).parent
