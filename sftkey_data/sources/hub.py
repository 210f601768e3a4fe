"""Rows through the `datasets` library: folders in the hub's layout, and hub ids."""

import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources.parquet import media_columns
from sftkey_data.sources.readers import Record


def load(name: str, split: str) -> Any:
    """The `datasets.Dataset` of a folder or hub id, as `name` or `name:subset`.

    Raises:
        SFTKeyError: It is not there, has no such split, or holds a file that `datasets` cannot read.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs of a failure stands in the error too
    repository, _, subset = name.partition(":")
    try:
        with _torch_unknown():
            rows = datasets.load_dataset(repository, subset or None, split=split)
            for column in media_columns(rows.features.arrow_schema):
                if getattr(rows.features[column], "decode", False):
                    rows = rows.cast_column(column, replace(rows.features[column], decode=False))
            return rows
    except StopIteration:  # its message for an empty file
        raise SFTKeyError(f"dataset {name!r} (split {split!r}): a file of it holds no rows") from None
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        raise SFTKeyError(f"dataset {name!r} (split {split!r}) could not be loaded: {_said(cause or error)}") from None


def read_hub_rows(dataset: Any, label: str) -> Iterator[Record]:
    """Its rows as records.

    Raises:
        SFTKeyError: A row that Python cannot hold, for example text that is no UTF-8.
    """
    number = 0
    try:
        media = media_columns(dataset.features.arrow_schema)
        for number, row in enumerate(dataset if len(dataset) else (), start=1):  # iterating over none fails
            paths = {column: row[column] and {"path": row[column]["path"]} for column in media}
            yield Record(label, number, row | paths)
    except (ValueError, OverflowError, OSError) as error:
        raise SFTKeyError(f"{label}: row {number + 1} cannot be read: {_said(error)}") from None


@contextmanager
def _torch_unknown() -> Iterator[None]:
    """`datasets` imports torch where `sys.modules` names it, even as the None with which the programs hide it."""
    hidden = "torch" in sys.modules and sys.modules["torch"] is None
    if hidden:
        del sys.modules["torch"]
    try:
        yield
    finally:
        if hidden:
            sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def _said(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
