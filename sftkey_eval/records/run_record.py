"""The run record (`run.json`): what produced a file of completions, beside that file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import read_sealed, write_sealed

RECORD_FILE = "run.json"
RECORD_MEND = "generate again, to another --out; to score the completions as they are, move it away from them"


class _Part(BaseModel):
    """Facts that were found out, as fields, and beside them the options of this part, whichever there are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """The options by name."""
        return self.model_extra or {}


class ModelRecord(_Part):
    """The model: where it was found, what its files hash to, and the training seed where its recipe is known.

    `end_token_ids` end a completion, besides those that its own files name; None where only a server knows.
    """

    path: str
    fingerprint: str
    tokenizer_fingerprint: str | None
    end_token_ids: list[int] | None = None
    recipe: str | None = None
    seed: int | None = None


class DataRecord(_Part):
    """The prepared data, by the hash of its manifest, and how many of its rows were asked for."""

    path: str
    manifest_sha256: str
    num_items: int


class RunRecord(BaseModel):
    """Contents of `run.json`. `versions` and the names are for the reader; the rest is the identity of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    completions: str
    model: ModelRecord
    data: DataRecord
    template: dict[str, Any]
    sampling: dict[str, Any]
    """The options that decide the text, given model and prompt."""
    versions: dict[str, str]
    config: dict[str, Any] | None = None
    """The file that gave options, and what it says: for the reader too."""
    completions_sha256: str | None = None
    """Of the file of completions; None until that is whole, and in records from before there was one."""

    def differences(self, other: "RunRecord", older: Mapping[str, Any]) -> list[str]:
        """What makes `other` a different run, as `field: found, expected`; empty when one may continue the other.

        Args:
            other: The record that was found.
            older: Values of the options that it may be too old to hold.
        """
        mine, theirs = self._identity(), {**older, **other._identity()}
        keys = {**mine, **theirs}
        return [
            f"{key} is {theirs.get(key)!r}, expected {mine.get(key)!r}"
            for key in keys
            if mine.get(key) != theirs.get(key)
        ]

    def _identity(self) -> dict[str, Any]:
        return {
            "completions": self.completions,
            "model": self.model.fingerprint,
            "tokenizer": self.model.tokenizer_fingerprint,
            "end_token_ids": self.model.end_token_ids,
            **self.model.options,
            "data": self.data.manifest_sha256,
            **self.data.options,
            "template": self.template,
            **self.sampling,
        }


def read_record(path: Path) -> RunRecord:
    """Read a `run.json`.

    Raises:
        SFTKeyError: It is not there, is not a run record, or not as it was written.
    """
    try:
        return RunRecord.model_validate(read_sealed(path, RECORD_MEND))
    except FileNotFoundError:
        raise SFTKeyError(f"run record not found: {path}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise SFTKeyError(f"{path}: not a run record: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def write_record(record: RunRecord, path: Path) -> None:
    """Write a `run.json` with its digest, complete or not at all."""
    write_sealed(path, record.model_dump())


def refuse_other_completions(path: Path, found: str, recorded: object) -> None:
    """Refuse completions that are not those whose hash stands in their run record; without one they are as they are.

    Args:
        path: The file of completions.
        found: Its SHA-256.
        recorded: `completions_sha256` of the record beside it, None where there is none.

    Raises:
        SFTKeyError: They were changed, or damaged.
    """
    if recorded not in (None, found):
        raise SFTKeyError(
            f"{path}: changed since it was written: its sha256 is {found[:12]}…, {RECORD_FILE} beside it says "
            f"{str(recorded)[:12]}…; generate it again, or move it away from {RECORD_FILE} to score it as it is"
        )
