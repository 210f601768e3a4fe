"""The scored runs that lie below a folder, and the pages that were written about them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.row_digest import METADATA_KEY
from sftkey_eval.analysis.loaded_runs import VERDICTS_FILE, load_runs
from sftkey_eval.analysis.summary import Rate, Shares

PAGES = ("report.html", "compare.html", "study.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A verdicts file, and what it holds.

    Args:
        name: Where it lies below the folder that was looked through: its folder, or its own name if it is another.
        path: The verdicts file.
        scored: When that was last written, `2026-11-29 12:30` in UTC.
        model: The model's path; empty where the completions came without a record of it.
        seed: The training's, where the record has it.
        data: Names of the datasets that the verdicts are of.
        template: The format that the completions were read with.
        format: Valid completions.
        strict: Format valid and Key right.
        lenient: The best candidate right.
        report: The page on this run alone, where there is one.
    """

    name: str
    path: Path
    scored: str
    model: str
    seed: int | None
    data: str
    template: str
    format: Rate
    strict: Rate
    lenient: Rate
    report: Path | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A verdicts file that cannot be read, and why."""

    name: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """What lies below a folder, by name; `pages` are those of several runs."""

    runs: tuple[FoundRun, ...]
    unreadable: tuple[Unreadable, ...]
    pages: tuple[Path, ...]


def find_runs(folder: Path) -> RunFolder:
    """Read every verdicts file below a folder; hidden folders and links to folders are not entered.

    Raises:
        SFTKeyError: There is no such folder, or no verdicts file in it.
    """
    if not folder.is_dir():
        raise SFTKeyError(f"{folder}: no such folder, expected one with scored runs below it")
    runs: list[FoundRun] = []
    unreadable: list[Unreadable] = []
    pages: list[Path] = []
    for path in _files(folder):
        if path.name in PAGES:
            pages.append(path)
        elif _is_verdicts(path):
            try:
                runs.append(_read(path, folder))
            except SFTKeyError as error:
                unreadable.append(Unreadable(_name(path, folder), str(error)))
    if not runs and not unreadable:
        raise SFTKeyError(f"{folder}: no {VERDICTS_FILE} below it; write one with `sftkey-eval run` or `score`")
    linked = {run.report for run in runs}
    others = tuple(page for page in pages if page not in linked)
    return RunFolder(runs=tuple(runs), unreadable=tuple(unreadable), pages=others)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _is_verdicts(path: Path) -> bool:
    """Whether it has the name of one, or is a parquet file that says so."""
    if path.name == VERDICTS_FILE:
        return True
    if path.suffix != ".parquet":
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError):
        return False  # somebody else's file
    return METADATA_KEY in (schema.metadata or {}) and "error_class" in schema.names


def _name(path: Path, folder: Path) -> str:
    found = path.relative_to(folder)
    return str(found.parent) if found.name == VERDICTS_FILE and found.parent.name else str(found)


def _read(path: Path, folder: Path) -> FoundRun:
    (run,) = load_runs([f"run={path}"])
    model = run.record.get("model")
    known = model if isinstance(model, dict) else {}
    seed, share_of = known.get("seed"), Shares(run.verdicts.items)
    return FoundRun(
        name=_name(path, folder),
        path=path,
        scored=f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M}",
        model=str(known.get("path") or ""),
        seed=seed if isinstance(seed, int) else None,
        data=", ".join(sorted(filter(None, run.verdicts.counts("dataset")))),
        template=run.template.name,
        format=share_of(run.verdicts.flags("format_valid")),
        strict=share_of(run.verdicts.flags("correct")),
        lenient=share_of(run.verdicts.flags("lenient_correct")),
        report=_report(path),
    )


def _report(path: Path) -> Path | None:
    """What `run` writes, and where the line after `score` says to write it."""
    pages = (path.parent / "report" / "report.html", path.with_name(f"{path.stem}-report") / "report.html")
    return next((page for page in pages if page.is_file()), None)
