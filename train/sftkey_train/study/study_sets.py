"""The datasets of a study: prepared folders as they are given, or built below the study's folder from options."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.small_tokenizer import train_small_tokenizer
from sftkey_data.building.tokenizer_options import TokenizerOptions
from sftkey_data.config import validate
from sftkey_data.datasets.arithmetic import Options
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, Manifest, read_manifest
from sftkey_data.storage.appearing import make_folder
from sftkey_train.study.study_file import PARTS, Part, Study, StudySet

SETS = "sets"
_TEXTS = 2000  # of the training part, for the tokenizer


@dataclass(frozen=True, slots=True)
class StudyData:
    """A dataset of a study, ready to train on; `digests` are over the content of its parts, wherever they lie."""

    name: str
    folders: Mapping[Part, Path]
    digests: Mapping[Part, str]
    num_examples: Mapping[Part, int]


def check_sets(study: Study, where: str) -> None:
    """Refuse wrong options of a generated set before anything is built.

    Raises:
        SFTKeyError: Names the file, the set and the option.
    """
    for name, study_set in study.datasets.items():
        if study_set.arithmetic is not None:
            validate(study_set.arithmetic, Options, where=f"{where}: datasets.{name}: arithmetic")


def make_sets(study: Study, folder: Path) -> dict[str, StudyData]:
    """The datasets of a study by name, in its order; those to be generated are built, where they are not there yet.

    Args:
        study: Whose.
        folder: Where generated ones go.

    Raises:
        SFTKeyError: A folder is not prepared or holds no tokens, two parts of a set are the same, or a build fails.
    """
    return {name: _data(name, _folders(study, name, table, folder)) for name, table in study.datasets.items()}


def _folders(study: Study, name: str, table: StudySet, folder: Path) -> dict[Part, Path]:
    if table.arithmetic is None:
        return {part: Path(getattr(table, part)) for part in PARTS}
    return _generate(table, table.tokenizer or study.model.path, folder / f"{name}-{_options_digest(table)}")


def _options_digest(table: StudySet) -> str:
    """Sets of other options lie beside each other, so that a changed study file builds its own."""
    return hashlib.sha256(table.model_dump_json(exclude={"arms"}).encode()).hexdigest()[:8]


def _generate(table: StudySet, tokenizer: str | None, folder: Path) -> dict[Part, Path]:
    options = dict(table.arithmetic or {})
    make_folder(folder)
    if tokenizer is None:
        tokenizer = str(_tokenizer(options, table.sizes.train, table.template, folder))
    folders: dict[Part, Path] = {part: folder / part for part in PARTS}
    for part, out in folders.items():
        _build(options | {"num": getattr(table.sizes, part)}, part, table.template, out, tokenizer)
    return folders


def _tokenizer(options: Mapping[str, Any], num: int, template: str, folder: Path) -> Path:
    tokenizer = folder / "tokenizer"
    if not tokenizer.exists():
        texts = {**options, "num": min(_TEXTS, num)}
        train_small_tokenizer(
            TokenizerOptions(source="arithmetic", split="train", template=template, options=texts), tokenizer
        )
    return tokenizer


def _build(options: Mapping[str, Any], split: str, template: str, out: Path, tokenizer: str) -> None:
    if (out / MANIFEST).exists():
        return
    build(
        BuildConfig(source="arithmetic", split=split, tokenizer=tokenizer, template=template, options=dict(options)),
        out,
    )


def _data(name: str, folders: Mapping[Part, Path]) -> StudyData:
    manifests = {part: read_manifest(folder) for part, folder in folders.items()}
    digests = {part: content_digest(manifests[part], f"datasets.{name}: {part} {folders[part]}") for part in folders}
    for part in PARTS[1:]:
        for other in PARTS[: PARTS.index(part)]:
            if digests[part] == digests[other]:
                raise SFTKeyError(f"datasets.{name}: {part} {folders[part]} holds the same examples as {other}")
    return StudyData(name, folders, digests, {part: found.counts.written for part, found in manifests.items()})


def content_digest(manifest: Manifest, where: str) -> str:
    """A hash over the examples of a prepared folder and what their ids mean, wherever it lies.

    Raises:
        SFTKeyError: It holds no tokens.
    """
    if manifest.tokenizer is None:
        raise SFTKeyError(f"{where} holds no tokens, expected a build with --tokenizer")
    facts = {
        "shards": [shard.sha256 for shard in manifest.shards],
        "tokenizer": manifest.tokenizer.fingerprint,
        "end": manifest.tokenizer.eos_token_id,
        "template": manifest.template.digest,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
