"""The run record (`run.json`): what produced a file of completions, beside that file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import write_json

RECORD_FILE = "run.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecord(_Record):
    """The model: where it was found, what its files hash to, and the training seed where its recipe is known."""

    path: str
    fingerprint: str
    tokenizer_fingerprint: str | None
    dtype: str
    recipe: str | None = None
    seed: int | None = None


class DataRecord(_Record):
    """The prepared data, by the hash of its manifest, and which of its rows were asked for."""

    path: str
    manifest_sha256: str
    split: str | None = None
    limit: int | None = None
    num_items: int


class SamplingRecord(_Record):
    """Everything that decides the text given model and prompt."""

    backend: str = "hf"
    backend_args: dict[str, str] = {}
    max_new_tokens: int
    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    num_samples: int = 1
    seed: int


class RunRecord(_Record):
    """Contents of `run.json`. `versions` and the names are for the reader; the rest is the identity of the run."""

    name: str
    completions: str
    model: ModelRecord
    data: DataRecord
    template: dict[str, Any]
    sampling: SamplingRecord
    versions: dict[str, str]

    def differences(self, other: "RunRecord") -> list[str]:
        """What makes `other` a different run, as `field: found, expected`; empty when one may continue the other."""
        mine, theirs = self._identity(), other._identity()
        return [f"{key} is {theirs[key]!r}, expected {mine[key]!r}" for key in mine if mine[key] != theirs[key]]

    def _identity(self) -> dict[str, Any]:
        return {
            "completions": self.completions,
            "model": self.model.fingerprint,
            "tokenizer": self.model.tokenizer_fingerprint,
            "dtype": self.model.dtype,
            "data": self.data.manifest_sha256,
            "split": self.data.split,
            "limit": self.data.limit,
            "template": self.template,
            **self.sampling.model_dump(),
        }


def read_record(path: Path) -> RunRecord:
    """Read a `run.json`.

    Raises:
        SFTKeyError: It is not there or is not a run record.
    """
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise SFTKeyError(f"run record not found: {path}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise SFTKeyError(f"{path}: not a run record: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def write_record(record: RunRecord, path: Path) -> None:
    """Write a `run.json`, complete or not at all."""
    write_json(path, record.model_dump())
