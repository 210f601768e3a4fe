"""The datasets of a study: prepared folders as they are given, or built below its own from options or from rows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sftkey_data.building.build import build
from sftkey_data.building.build_config import USUAL_TEMPLATE, BuildConfig, TokenizerOptions
from sftkey_data.building.small_tokenizer import train_small_tokenizer
from sftkey_data.config import validate
from sftkey_data.datasets.arithmetic import Options
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, Manifest, file_sha256, read_manifest
from sftkey_data.registry import load_dataset
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
    """Refuse wrong options of a generated set, or an unknown source, before anything is built.

    Raises:
        SFTKeyError: Names the file, the set and the option.
    """
    for name, study_set in study.datasets.items():
        if study_set.arithmetic is not None:
            validate(study_set.arithmetic, Options, where=f"{where}: datasets.{name}: arithmetic")
        if study_set.source is not None:
            try:
                load_dataset(study_set.source)
            except SFTKeyError as error:
                raise SFTKeyError(f"{where}: datasets.{name}: source: {error}") from None


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
    if table.is_prepared:
        return {part: Path(getattr(table, part)) for part in PARTS}
    made, tokenizer = folder / f"{name}-{_digest(table)}", table.tokenizer or study.model.path
    make_folder(made)
    configs = _generated(table) if table.arithmetic is not None else _shared_out(table)
    tokenizer = tokenizer or str(_small_tokenizer(configs["train"], made))
    for part, config in configs.items():
        if not (made / part / MANIFEST).exists():
            build(replace(config, tokenizer=tokenizer), made / part)
    return {part: made / part for part in PARTS}


def _digest(table: StudySet) -> str:
    """Sets of other options or files lie beside each other, so that a changed study file or table builds its own."""
    of_sources = {"source", "input", "shares"} if table.source is None else set()
    options = table.model_dump_json(exclude={"arms", *of_sources})
    files = [path for path in map(Path, (table.source or "", *table.input)) if path.is_file()]
    return hashlib.sha256("".join([options, *map(file_sha256, files)]).encode()).hexdigest()[:8]


def _generated(table: StudySet) -> dict[Part, BuildConfig]:
    """How each part is built, all but its tokenizer."""
    return {
        part: BuildConfig(
            source="arithmetic",
            split=part,
            template=table.template,
            options={**(table.arithmetic or {}), "num": getattr(table.sizes, part)},
        )
        for part in PARTS
    }


def _shared_out(table: StudySet) -> dict[Part, BuildConfig]:
    """The same, of shares of the questions of one source."""
    test, heldout = table.shares.test, table.shares.test + table.shares.validation
    shares: dict[Part, str] = {"train": f"{heldout}:1", "validation": f"{test}:{heldout}", "test": f"0:{test}"}
    source, template = table.source or "", None if table.template == USUAL_TEMPLATE else table.template
    return {
        part: BuildConfig(source=source, inputs=table.input, template=template, share=share)
        for part, share in shares.items()
    }


def _small_tokenizer(train: BuildConfig, folder: Path) -> Path:
    """A tokenizer of the texts that are trained on; its folder is there when it is complete."""
    tokenizer = folder / "tokenizer"
    if not tokenizer.exists():
        if train.source == "arithmetic":
            texts = {**train.options, "num": min(_TEXTS, train.options["num"])}
            options = TokenizerOptions(source="arithmetic", split="train", template=train.template, options=texts)
            train_small_tokenizer(options, tokenizer)
        else:
            build(train, folder / "texts")
            train_small_tokenizer(TokenizerOptions(source=str(folder / "texts")), tokenizer)
    return tokenizer


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
