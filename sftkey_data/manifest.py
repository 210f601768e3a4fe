"""What a build records about itself: enough to rebuild it, to check it, and to refuse the wrong model."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sftkey_data.errors import SFTKeyError
from sftkey_data.schema import SCHEMA_VERSION
from sftkey_data.template import Template

MANIFEST = "manifest.json"
TOKENIZER_FOLDER = "tokenizer"
REJECTS = "rejects.jsonl"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerInfo(_Record):
    """The tokenizer of a build; `fingerprint` is `sftkey_data.tokenizer.fingerprint`."""

    name: str
    fingerprint: str
    vocab_size: int
    eos_token_id: int
    adds_special_tokens: bool


class InputInfo(_Record):
    """One input; `sha256` is over its bytes (of a hub dataset, the fingerprint of its content)."""

    name: str
    split: str
    sha256: str
    rows: int


class ShardInfo(_Record):
    """One shard file."""

    file: str
    rows: int
    sha256: str


class Counts(_Record):
    """`rows_read == written + rejected`, always."""

    rows_read: int
    written: int
    rejected: int


class Manifest(_Record):
    """The content of `manifest.json`, written last: a folder that has one is complete."""

    schema_version: int = SCHEMA_VERSION
    code_version: str
    dataset: str
    split: str
    config: dict[str, Any]
    tokenizer: TokenizerInfo | None
    template: Template
    inputs: list[InputInfo]
    counts: Counts
    rejects: dict[str, int]
    shards: list[ShardInfo]
    statistics: dict[str, Any]


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        SFTKeyError: No manifest, a broken one, or another schema version.
    """
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise SFTKeyError(f"{directory}: no {MANIFEST}, expected a folder written by `sftkey-data build`") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise SFTKeyError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise SFTKeyError(f"{path}: schema version {manifest.schema_version}, this program reads {SCHEMA_VERSION}")
    return manifest


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
