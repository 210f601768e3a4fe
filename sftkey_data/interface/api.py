"""The Python interface of `sftkey_data`: `build` and `load`."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftkey_data.building.build import build as build_folder
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import check_engine
from sftkey_data.interface.keywords import takes_keywords
from sftkey_data.interface.notebook import html_table
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.process_pool import cores

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["BuiltFolder", "SFTKeyError", "build", "load"]

_ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
"""While a build runs, as in `sftkey-data build`: its workers are processes, and threads do not live on in a fork."""


@dataclass(frozen=True, slots=True, repr=False)
class BuiltFolder:
    """What a build has made: where it is, and its manifest."""

    path: str
    manifest: Manifest

    def dataset(self, columns: Sequence[str] | None = None) -> "Dataset":
        """See `load`."""
        return load(self.path, columns)

    def __repr__(self) -> str:
        counts = self.manifest.counts
        numbers = f"{counts.rows_read} read, {counts.written} written, {counts.rejected} rejected"
        return f"BuiltFolder({self.path!r}: {numbers})"

    def _repr_html_(self) -> str:
        counts = self.manifest.counts
        rows = [("read", counts.rows_read), ("written", counts.written), ("rejected", counts.rejected)]
        rows += [("held out", self.manifest.held_out)] if self.manifest.held_out else []
        rows += [(f"rejected: {reason}", number) for reason, number in self.manifest.rejects.items()]
        return html_table(self.path, ("rows", "number"), rows)


@takes_keywords
def build(
    config: BuildConfig,
    out: str | Path,
    *,
    workers: int | None = None,
    engine: str = "local",
    overwrite: bool = False,
) -> BuiltFolder:
    """Build a prepared folder, as `sftkey-data build` does; the same call after an interruption goes on.

    Args:
        config: What to build: an option of `sftkey-data build` is a keyword, `--max-tokens` is `max_tokens`.
        out: New folder or URL, or an empty one.
        workers: Processes; the same result for any number. None: all cores.
        engine: `local`, or `ray` for the cluster of `$RAY_ADDRESS`.
        overwrite: Replace what is in `out` once all is written.

    Returns:
        Where the folder is, and its manifest: counts, rejects by reason, statistics.

    Raises:
        SFTKeyError: One line that says what was found and what was expected.

    Example:
        import sftkey_data

        built = sftkey_data.build(
            "arithmetic", "data/api", set={"kind": "sums", "num": 200}, tokenizer="demo/tokenizer", workers=1
        )
        print(built)
    """
    if workers is not None and workers < 1:
        raise SFTKeyError(f"sftkey_data.build: workers is {workers}, expected at least 1")
    machinery = Machinery(workers or cores(), check_engine(engine))
    with _environment():
        return BuiltFolder(str(out), build_folder(config, out, overwrite=overwrite, machinery=machinery))


def load(folder: str | Path, columns: Sequence[str] | None = None) -> "Dataset":
    """The examples of a prepared folder as a `datasets.Dataset`, with the spans and borders of each.

    Args:
        folder: Prepared folder or URL. The shards of a local one are mapped and not copied; of a URL they are read
            into memory.
        columns: Only these; None: all of [the format](formats.md).

    Raises:
        SFTKeyError: No prepared folder, one that was changed since it was built, or a column that it does not have.

    Example:
        import sftkey_data

        examples = sftkey_data.load("demo/train")
        first = examples[0]
        print(first["completion"][first["key_start"] : first["key_end"]] == first["gold"])
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    prepared = open_prepared(folder)
    table = prepared.table(columns)
    # The manifest's digest stands for all bytes: else they would be read once more for a fingerprint.
    identity = hashlib.sha256(json.dumps([prepared.manifest.digest, columns and list(columns)]).encode())
    return Dataset(InMemoryTable(table), fingerprint=identity.hexdigest()[:16])  # as long as those of `datasets`


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update({name: value for name, value in _ONE_THREAD.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
