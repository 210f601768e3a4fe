"""What a build records about itself: enough to rebuild it, to check it, and to refuse the wrong model."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template
from sftkey_data.guards.regular_file import parse_json, regular
from sftkey_data.storage.file_bytes import exists, open_read
from sftkey_data.storage.filesystems import is_url

MANIFEST_VERSION = 2
"""Version 1 differs in one fact: its `inputs[].sha256` is the SHA-256 of a file as a whole, and no tree hash."""
VERSIONS_READ = (1, MANIFEST_VERSION)
MANIFEST = "manifest.json"
TOKENIZER_FOLDER = "tokenizer"
REJECTS = "rejects.jsonl"
LEFT_OUT = "left_out.jsonl"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerInfo(_Record):
    """The tokenizer of a build; `fingerprint` is `sftkey_data.tokens.tokenizer.tokenizer_fingerprint`.

    `eos_token_id` ends every example, `end_token` is its text: of a chat build, the turn's own end. The copy in the
    folder has it as its EOS.
    """

    name: str
    fingerprint: str
    vocab_size: int
    eos_token_id: int
    end_token: str
    adds_special_tokens: bool


class InputInfo(_Record):
    """One input; `sha256` is the SHA-256 tree hash of its bytes, see `sftkey_data.sources.tree_hash`.

    Of a folder of tables it is the SHA-256 over the tree hashes of its files, in hexadecimal one after the other; of
    any other set, the fingerprint that `datasets` gives it; of a generated set, the SHA-256 of its options.
    """

    name: str
    split: str
    sha256: str
    rows: int


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("expected the name of a file inside the folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
"""Of a file beside the manifest, or below it: a folder made elsewhere may not point out of itself."""


class ShardInfo(_Record):
    """One shard file."""

    file: FileName
    rows: int
    sha256: str


class Counts(_Record):
    """`rows_read == written + rejected`, and what a holdout took besides, always."""

    rows_read: int
    written: int
    rejected: int


class MixedSource(_Record):
    """One source of a mix, as its file asks for it, and what became of its rows in this folder.

    `rows` counts those that the whole build read of it, a row as often as it was read: its ids have the numbers
    `first_row` to `first_row + rows - 1`.
    """

    source: str
    dataset: str
    split: str
    weight: float
    seed: int
    inputs: list[str]
    where: list[str]
    limit: int | None
    options: dict[str, Any]
    first_row: int = Field(ge=0, lt=2**40)  # all of a folder together fit into 64 bits
    rows: int = Field(ge=0, lt=2**40)
    counts: Counts
    rejects: dict[str, int]


class HoldoutInfo(_Record):
    """The other folder of a build with a holdout.

    `rows_read` are the rows of the whole build; `other_rows` are the examples in the other folder, called `other`.
    """

    part: Literal["train", "holdout"]
    share: float
    seed: int
    rows_read: int
    other: str
    other_rows: int


class Manifest(_Record):
    """The content of `manifest.json`, written last: a folder that has one is complete.

    `schema_version` is that of the manifest; the shards have their own, `sftkey_data.schema.SCHEMA_VERSION`.

    `first_row` is the number in its split of the first row read, from which ids are counted; each source of a mix has
    its own. `shards` and `files` hold the hash of what lies beside it. README.md is not among them: it is there to be
    edited.
    `digest` is over all other fields, so that a manifest changed by hand, or hashes that were made to fit, are found.
    """

    schema_version: int = MANIFEST_VERSION
    code_version: str
    fingerprint: str = ""  # of everything that decides the rows: configuration, inputs, the user's own files, tokenizer
    dataset: str
    split: str
    config: dict[str, Any]
    tokenizer: TokenizerInfo | None
    template: Template
    inputs: list[InputInfo]
    counts: Counts
    rejects: dict[str, int]
    shards: list[ShardInfo]
    files: dict[FileName, str] = Field(default_factory=dict)
    statistics: dict[str, Any]
    first_row: int = Field(default=0, exclude_if=lambda number: number == 0)
    holdout: HoldoutInfo | None = Field(default=None, exclude_if=lambda info: info is None)
    mix: list[MixedSource] = Field(default_factory=list, exclude_if=lambda sources: not sources)

    @property
    def held_out(self) -> int:
        """Rows that were read for this folder and written to its holdout."""
        return self.holdout.other_rows if self.holdout is not None and self.holdout.part == "train" else 0

    @property
    def datasets_split(self) -> str:
        """The split's label where `datasets` takes it as a name (not `train+test`), else train."""
        return self.split if re.fullmatch(r"\w+(\.\w+)*", self.split) else "train"

    @property
    def by_source(self) -> dict[str, int]:
        """Of a mix: how many examples each source has given."""
        return {f"{one.dataset}/{one.split}, weight {one.weight:g}": one.counts.written for one in self.mix}

    @property
    def last_row(self) -> int:
        """The number after the last that an id can have; `first_row` is the first."""
        return self.first_row + (self.counts.rows_read if self.holdout is None else self.holdout.rows_read)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def digest(self) -> str:
        """SHA-256 over the values, however the file is laid out."""
        return _digest(self.model_dump(mode="json", exclude={"digest"}))

    @model_validator(mode="before")
    @classmethod
    def _without_digest(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k != "digest"} if isinstance(values, dict) else values


def in_folder(directory: Path | str, name: str) -> str:
    """A file of a folder, local or a URL, as it is called in messages."""
    return f"{str(directory).rstrip('/')}/{name}" if is_url(str(directory)) else str(Path(directory) / name)


def manifest_bytes(directory: Path | str) -> bytes:
    """The bytes of a prepared folder's manifest.

    Raises:
        SFTKeyError: There is none, or a server fails.
    """
    path = in_folder(directory, MANIFEST)
    if not exists(path):
        raise SFTKeyError(f"{directory}: no {MANIFEST}, expected a folder written by `sftkey-data build`")
    with open_read(path) as file:
        return file.read()


def read_manifest(directory: Path | str) -> Manifest:
    """The manifest of a prepared folder, local or by URL.

    Raises:
        SFTKeyError: No manifest, a broken or changed one, or another schema version.
    """
    return parse_manifest(manifest_bytes(directory), in_folder(directory, MANIFEST))


def parse_manifest(content: bytes, path: str) -> Manifest:
    """The manifest that a file holds; `path` is for the message."""
    # Another version has other fields, so it comes before the check of these.
    values = _values(content)
    if (version := _version(values)) not in VERSIONS_READ:
        known = " and ".join(map(str, VERSIONS_READ))
        raise SFTKeyError(f"{path}: schema version {version}, this program reads {known}")
    _refuse_changed(values, path)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        # A missing or an unknown fact: this program wrote other ones when the folder was built.
        mend = " (built by another version? build it again)" if fault["type"] in ("missing", "extra_forbidden") else ""
        raise SFTKeyError(f"{path}: {place}: {fault['msg']}{mend}") from None


def _values(content: bytes) -> dict[str, Any]:
    """What a file states; nothing where it is broken, which the full check names."""
    try:
        values = parse_json(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _version(values: Mapping[str, Any]) -> int:
    """The schema version that a file states; ours where it states none."""
    stated = values.get("schema_version")
    return stated if isinstance(stated, int) else MANIFEST_VERSION


def _refuse_changed(values: Mapping[str, Any], path: str) -> None:
    recorded, found = values.get("digest"), _digest({k: v for k, v in values.items() if k != "digest"})
    if "digest" in values and recorded != found:
        raise SFTKeyError(
            f"{path}: changed since the build: it has digest {str(recorded)[:12]}…, its content {found[:12]}…; "
            "build it again"
        )


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, sha256: str, name: str) -> None:
    """Refuse a file whose bytes are not those that the manifest names; `name` is what the message calls it.

    Raises:
        SFTKeyError: They differ, or it is missing.
    """
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        raise SFTKeyError(f"{name} is missing") from None
    if found != sha256:
        raise SFTKeyError(f"{name}: hash {found[:12]}… differs from the manifest's {sha256[:12]}…, so it is damaged")
