"""The sources of a build as they are asked for: one, or those that a mix file names.

    seed = 0                      # draws other questions where a weight takes a part of them

    [[source]]
    dataset = "gsm8k"             # built-in, ./mine.toml or ./mine.py
    input = ["train.jsonl"]       # with split, where, limit and set, as of `build`
    weight = 2                    # every row twice; 0.5: half of the questions

Paths are taken from the folder of the file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sftkey_data.building.build_config import BuildConfig
from sftkey_data.config import load_toml, validate, value_text
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.mapping.toml_mapping import MIX_WORD, ColumnMapping
from sftkey_data.registry import DATASET_NAME
from sftkey_data.sources.source import looks_like_hub_id

MAX_WEIGHT = 100
MIX_WORDS = ("seed", MIX_WORD)
OF_EACH_SOURCE = {"inputs": "--input", "split": "--split", "where": "--where", "options": "--set"}
"""Options of a build that each source of a mix has for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One source as it is asked for; the fields of one name are those of `BuildConfig`."""

    source: str
    inputs: tuple[str, ...] = ()
    split: str | None = None
    where: tuple[str, ...] = ()
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    """Of its rows, in the column `split`; a plan names it."""
    mix: Path | None = None
    """The file that names it."""
    number: int = 1
    """Its place in that file."""
    name: str | None = None
    """In the column `dataset`; None: the dataset's own."""
    weight: float = 1.0
    seed: int = 0

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.mix}: source {self.number}"

    @property
    def shares(self) -> tuple[float, ...]:
        """How often it is read, and which share of its questions each time: 2.5 is (1.0, 1.0, 0.5)."""
        whole, rest = divmod(Decimal(str(self.weight)), 1)  # of a decimal: 2.3 takes what 0.3 takes
        return (1.0,) * int(whole) + ((float(rest),) if rest else ())


def sources_of(config: BuildConfig) -> tuple[SourceConfig, ...]:
    """What a build reads, in order.

    Raises:
        SFTKeyError: A mix file that is not understood, or an option beside it that its sources have for themselves.
    """
    path = Path(config.source)
    if path.suffix == ".toml" and path.is_file() and MIX_WORD in (tables := load_toml(path, "dataset")):
        return _mixed(config, path, tables)
    return (
        SourceConfig(
            source=config.source,
            inputs=config.inputs,
            split=config.split,
            where=config.where,
            limit=config.limit,
            options=config.options,
        ),
    )


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _SourceTable(BaseModel):
    """One `[[source]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    name: Annotated[str, Field(pattern=rf"^{DATASET_NAME.pattern}$")] | None = None
    input: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    split: str | None = None
    weight: float = Field(1.0, gt=0, le=MAX_WEIGHT, strict=True)
    where: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    limit: int | None = Field(None, ge=1, strict=True)
    set: dict[str, str | bool | int | float] = {}


class _Head(BaseModel):
    """What a mix file says of all its sources."""

    seed: int = Field(0, ge=0, lt=2**32, strict=True)


def _mixed(config: BuildConfig, path: Path, values: Mapping[str, Any]) -> tuple[SourceConfig, ...]:
    for name, flag in OF_EACH_SOURCE.items():
        if getattr(config, name):
            raise SFTKeyError(f"{path} is a mix: it takes no {flag}, each [[source]] says its own `{flag[2:]}`")
    for key in values.keys() - set(MIX_WORDS):
        if key in ColumnMapping.model_fields:
            raise SFTKeyError(f"{path}: both a mix of sources ([[source]]) and a mapping ({key}): expected one of them")
        raise SFTKeyError(f"{path}: unknown key {key!r}{nearest(key, MIX_WORDS)}; known: {', '.join(MIX_WORDS)}")
    tables = values[MIX_WORD]
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        found = "[source]" if isinstance(tables, dict) else value_text(tables)
        raise SFTKeyError(f"{path}: expected a table [[source]] for each source, found {found}")
    head = validate({name: values[name] for name in values if name != MIX_WORD}, _Head, where=str(path))
    read = [
        (number, validate(table, _SourceTable, where=f"{path}: source {number}"))
        for number, table in enumerate(tables, 1)
    ]
    return tuple(
        SourceConfig(
            source=_beside(table.dataset, path.parent) if table.dataset.endswith((".py", ".toml")) else table.dataset,
            inputs=tuple(_as_input(name, path.parent) for name in table.input),
            split=table.split,
            where=table.where,
            limit=min((n for n in (table.limit, config.limit) if n is not None), default=None),
            options={name: _as_option(value, path.parent) for name, value in table.set.items()},
            mix=path,
            number=number,
            name=table.name,
            weight=table.weight,
            seed=head.seed,
        )
        for number, table in read
    )


def _beside(name: str, folder: Path) -> str:
    return str(folder / name)


def _as_input(name: str, folder: Path) -> str:
    """An input as `--input` names it: a path from the mix file's folder; a URL or a hub id as it is."""
    if not name.strip() or "://" in name:
        return name
    is_hub_id = looks_like_hub_id(name) and not _exists(folder / name.partition(":")[0])
    return name if is_hub_id else _beside(name, folder)


def _as_option(value: str | float, folder: Path) -> str:
    """An option as `--set` gives it; a text that names a file beside the mix file is that file."""
    if not isinstance(value, str):
        return json.dumps(value)
    is_file = bool(Path(value).suffix) and _exists(folder / value)
    return _beside(value, folder) if is_file else value


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False
