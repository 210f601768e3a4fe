"""Rows through the `datasets` library: folders in the hub's layout, and hub ids."""

import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.sources.arrow_rows import as_written, media_columns, narrow_columns
from sftkey_data.sources.readers import Record

SAVED_DICT, SAVED = "dataset_dict.json", "state.json"  # what `save_to_disk` writes of a DatasetDict and of a Dataset


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
        with _torch_unknown(), _bounded(repository):
            if is_saved(repository):
                rows = _from_disk(repository, split)
            else:
                rows = datasets.load_dataset(repository, subset or None, split=split)
            for column in media_columns(rows.features.arrow_schema):
                if getattr(rows.features[column], "decode", False):
                    rows = rows.cast_column(column, replace(rows.features[column], decode=False))
            return rows
    except StopIteration:  # its message for an empty file
        raise SFTKeyError(f"dataset {name!r} (split {split!r}): a file of it holds no rows") from None
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        if isinstance(cause, MemoryError):
            raise SFTKeyError(f"dataset {name!r} (split {split!r}): takes more memory than its size explains") from None
        raise SFTKeyError(f"dataset {name!r} (split {split!r}) could not be loaded: {_said(cause or error)}") from None


def _bounded(name: str) -> AbstractContextManager[None]:
    """The memory that reading a folder may take; of what is fetched first, the size is not known."""
    if not Path(name).is_dir():
        return nullcontext()
    sizes = (file.stat().st_size for file in Path(name).rglob("*") if file.is_file())
    return bounded_memory(f"dataset {name!r}", sum(sizes))


def is_saved(name: str) -> bool:
    """Whether it is a folder that `save_to_disk` wrote."""
    return any((Path(name) / file).is_file() for file in (SAVED_DICT, SAVED))


def saved_split(name: str) -> str | None:
    """The split that a saved `Dataset` was made of; None where its folder does not say, or is none."""
    try:
        state = read_json_file(Path(name) / SAVED)
    except (OSError, ValueError):
        return None
    split = state.get("_split") if isinstance(state, dict) else None
    return split if isinstance(split, str) else None


def _from_disk(folder: str, split: str) -> Any:
    """The split of a saved `DatasetDict`, or a saved `Dataset`, which is of any split where it does not say."""
    import datasets

    saved = datasets.load_from_disk(folder)
    if not isinstance(saved, datasets.DatasetDict):
        saved = {saved_split(folder) or split: saved}
    if split not in saved:
        known = ", ".join(map(str, saved))
        raise SFTKeyError(f"dataset {folder!r}: unknown split {split!r}{nearest(split, saved)}; its splits: {known}")
    return saved[split]


def table_files(name: str, split: str) -> tuple[str, ...] | None:
    """The files of a split of a local folder of plain tables, in the order in which `datasets` reads them.

    None where the folder says more than its files do (types of columns, options of a reader), or holds other files.
    What `datasets` makes of a table it guesses from the cells: `007` becomes 7, a date becomes a time.

    Raises:
        SFTKeyError: There is no such split, or no data.
    """
    import datasets

    folder, _, subset = name.partition(":")
    if not Path(folder).is_dir() or is_saved(folder):
        return None
    try:
        with _torch_unknown():
            builder = datasets.load_dataset_builder(folder, subset or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise SFTKeyError(f"dataset {name!r} (split {split!r}) could not be loaded: {_said(error)}") from None
    if _says_types(Path(folder)) or not _is_plain(builder.config):
        return None
    files = {str(key): tuple(map(str, paths)) for key, paths in (builder.config.data_files or {}).items()}
    if split not in files:
        known = ", ".join(files)
        raise SFTKeyError(f"dataset {name!r}: unknown split {split!r}{nearest(split, files)}; its splits: {known}")
    return files[split]


def _says_types(folder: Path) -> bool:
    """Whether a dataset card, or what stood for one before, says the types of the columns."""
    card = folder / "README.md"
    return (folder / "dataset_infos.json").is_file() or (
        card.is_file() and "dataset_info:" in card.read_text(encoding="utf-8", errors="replace")
    )


def _is_plain(config: Any) -> bool:
    """Whether the options of a reader of tables are its own, but for a separator that the files' names say."""
    if type(config).__name__ not in ("JsonConfig", "CsvConfig", "ParquetConfig", "ArrowConfig"):
        return False
    default = type(config)(name=config.name)
    ours = ("data_files", "data_dir", "version", "description", "sep", "delimiter")
    options = [field.name for field in fields(config) if field.name not in ours]
    return all(getattr(config, option) == getattr(default, option) for option in options)


def read_hub_rows(dataset: Any, label: str) -> Iterator[Record]:
    """Its rows as records.

    Raises:
        SFTKeyError: A row that Python cannot hold, for example text that is no UTF-8.
    """
    number = 0
    try:
        schema = dataset.features.arrow_schema
        media, narrow = media_columns(schema), narrow_columns(schema)
        for number, row in enumerate(dataset if len(dataset) else (), start=1):  # iterating over none fails
            paths = {column: row[column] and {"path": row[column]["path"]} for column in media}
            numbers = {column: as_written(row[column], kind) for column, kind in narrow.items()}
            yield Record(label, number, row | paths | numbers)
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
