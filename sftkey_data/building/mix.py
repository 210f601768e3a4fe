"""The sources of a build, as they are asked for."""

from dataclasses import dataclass, field
from typing import Any

from sftkey_data.building.build_config import BuildConfig


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


def sources_of(config: BuildConfig) -> tuple[SourceConfig, ...]:
    """What a build reads, in order."""
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
