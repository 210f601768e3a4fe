"""Finding the extractor that a source name stands for: a built-in dataset, `./mine.py`, or `./mine.toml`.

The file is the registry: every module of `sftkey_data/datasets` is a dataset, and its stem is the dataset's name.
"""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from sftkey_data import datasets as builtin_datasets
from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.parts import Parts, Row

DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Dataset:
    """One way to turn rows into parts.

    Args:
        name: The `dataset` column of the shards.
        extract: Row to parts (a keyword `options` besides, where the dataset has options); raises `Reject`.
        columns: Columns every row must have, and paths as `extract.fields` reads them.
        nullable: Columns that are there, but may be null in a row.
        description: First line of the dataset file's docstring.
        default_input: Hub id (`org/name` or `org/name:subset`) read when no input is named.
        options: The pydantic model of the options that `--set` may give, else None; see `bind`.
        generate: `(options, split) -> rows` of a generated set, else None.
        settle: `(options, first rows) -> options, what to say` where rows decide options that were left open; such
            options also have a method `output_template()`, the template to write with where none is named.
        fields: Column names of a csv or tsv without a header, else None.
        default_split: The split read from a hub id when none is named, else `train`.
        expected_rejects: Reasons that are a property of the dataset and no fault of the input, as a question with an
            image. They do not count against --max-reject-rate; every row is counted in the manifest all the same.
        source_file: A user's own file.
        option_files: Files that the options name and that decide how a row is read; see `bind`.
    """

    name: str
    extract: Callable[..., Parts]
    columns: tuple[str, ...]
    nullable: tuple[str, ...] = ()
    description: str = ""
    default_input: str | None = None
    options: type[BaseModel] | None = None
    generate: Callable[[Any, str], Iterator[Row]] | None = None
    settle: Callable[[Any, Sequence[Row]], tuple[Any, str]] | None = None
    fields: tuple[str, ...] | None = None
    default_split: str | None = None
    expected_rejects: frozenset[str] = frozenset()
    source_file: Path | None = None
    option_files: tuple[Path, ...] = ()


def builtin_names() -> list[str]:
    """Names of the built-in datasets, sorted; no dataset module is imported."""
    return sorted(m.name for m in pkgutil.iter_modules(builtin_datasets.__path__) if not m.name.startswith("_"))


def load_dataset(source: str) -> Dataset:
    """The dataset a source name stands for.

    Raises:
        SFTKeyError: Unknown name (the nearest is shown), missing file, or a file that does not define a dataset.
    """
    if source.endswith((".py", ".toml")):
        path = Path(source)
        if not path.is_file():
            raise SFTKeyError(f"dataset file not found: {source}")
        return _from_python(path) if path.suffix == ".py" else _from_mapping(path)
    if source not in builtin_names():
        known = ", ".join(builtin_names())
        own = next((f"./{source}{suffix}" for suffix in (".toml", ".py") if Path(f"{source}{suffix}").is_file()), None)
        hint = f" (did you mean {own!r}?)" if own else nearest(source, builtin_names())
        raise SFTKeyError(f"unknown dataset {source!r}{hint}; known: {known}, or your own ./mine.py or ./mine.toml")
    return _from_module(importlib.import_module(f"sftkey_data.datasets.{source}"), source)


def bind(dataset: Dataset, options: BaseModel | None) -> Dataset:
    """The dataset with its options fixed, so that `extract` takes a row alone.

    Options with a method `columns()` name the columns every row must have, those with `files()` the files they use.
    Rows that are generated need no options any more.
    """
    if options is None:
        return dataset
    named, files = getattr(options, "columns", None), getattr(options, "files", None)
    dataset = replace(dataset, option_files=tuple(files()) if callable(files) else ())
    if dataset.generate is not None:
        return dataset
    return replace(
        dataset,
        extract=partial(dataset.extract, options=options),
        columns=tuple(named()) if callable(named) else dataset.columns,
    )


def parse_options(dataset: Dataset, values: Mapping[str, Any]) -> BaseModel | None:
    """The checked options of a dataset; None for one that takes none."""
    if dataset.options is None:
        if values:
            raise SFTKeyError(f"{dataset.name} has no options: it takes no --set {next(iter(values))}=…")
        return None
    options: BaseModel = validate(values, dataset.options, where=f"{dataset.name} option")
    return options


def _from_module(module: ModuleType, name: str, source_file: Path | None = None) -> Dataset:
    where = str(source_file or f"dataset {name}")
    for required, kind in (("extract", Callable), ("COLUMNS", tuple | list)):
        if not isinstance(getattr(module, required, None), kind):  # type: ignore[arg-type]
            raise SFTKeyError(f"{where}: expected `COLUMNS = (…)` and `def extract(row) -> Parts`, found no {required}")
    return Dataset(
        name=name,
        extract=module.extract,
        columns=tuple(module.COLUMNS),
        description=(module.__doc__ or "").strip().split("\n")[0],
        default_input=getattr(module, "INPUT", None),
        options=getattr(module, "Options", None),
        generate=getattr(module, "generate", None),
        settle=getattr(module, "settle", None),
        fields=getattr(module, "FIELDS", None),
        default_split=getattr(module, "SPLIT", None),
        expected_rejects=frozenset(getattr(module, "EXPECTED_REJECTS", ())),
        source_file=source_file,
    )


def _from_python(path: Path) -> Dataset:
    spec = importlib.util.spec_from_file_location(f"sftkey_dataset_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SFTKeyError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SFTKeyError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return _from_module(module, dataset_name(path), path)


def _from_mapping(path: Path) -> Dataset:
    from sftkey_data.mapping.toml_mapping import read_mapping

    mapping = read_mapping(path)
    return Dataset(
        name=mapping.name or dataset_name(path),
        extract=mapping.extract,
        columns=mapping.columns,
        nullable=mapping.nullable,
        description=mapping.description,
        default_input=mapping.input,
        source_file=path,
    )


def dataset_name(path: Path) -> str:
    """The name that a user's file gives to its dataset: its stem.

    Raises:
        SFTKeyError: It is none.
    """
    if not DATASET_NAME.fullmatch(path.stem):
        raise SFTKeyError(f"{path}: the file's stem is the dataset's name, expected letters, digits, '_', '-' or '.'")
    return path.stem
