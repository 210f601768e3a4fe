"""The index of all scored runs below a folder: a page, JSON and CSV."""

import json
import os
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import sftkey_data
from sftkey_data.storage.appearing import write_text
from sftkey_data.storage.own_output import own_folder
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_eval.report.printed import percent
from sftkey_eval.report.render import TEMPLATES, page_of_numbers
from sftkey_eval.report.run_index.found_runs import FoundRun, RunFolder, find_runs
from sftkey_eval.report.tables import Cell, Table, csv_text


def write_index(folder: Path, out: Path) -> RunFolder:
    """Write `index.html`, `index.json` and `index.csv`.

    Args:
        folder: Looked through, with all folders below it.
        out: Folder; one that an earlier index is in, or a new one.

    Raises:
        SFTKeyError: No runs are there, or `out` is not ours.
    """
    found = find_runs(folder)
    with own_folder(out):
        write_sealed(out / "index.json", index_json(found, folder))
        write_text(out / "index.csv", csv_text(_table(found)))
        values = _values(found, folder, out)
        write_text(out / "index.html", page_of_numbers(TEMPLATES / "index.html.j2", scripts=("index.js",), **values))
    return found


def index_json(found: RunFolder, folder: Path) -> dict[str, Any]:
    """Every run with its numbers; paths as they were found."""
    runs = [asdict(run) | {"path": str(run.path), "report": str(run.report or "") or None} for run in found.runs]
    return {
        "schema_version": 1,
        "code_version": sftkey_data.__version__,
        "folder": str(folder),
        "runs": runs,
        "unreadable": [asdict(each) for each in found.unreadable],
        "pages": [str(page) for page in found.pages],
    }


def index_line(found: RunFolder, out: Path) -> str:
    """Where the index is and how much is in it, in one line for stdout."""
    counts = {"num_runs": len(found.runs), "num_unreadable": len(found.unreadable)}
    return json.dumps({"index": str(out / "index.html"), **counts})


def _table(found: RunFolder) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            *(run.name, run.model, run.seed, run.data, run.template, run.format.n),
            *(run.format, run.strict, run.lenient, run.scored, str(run.path), str(run.report or "")),
        )
        for run in found.runs
    ]
    return Table(
        name="index",
        caption="",
        columns=(
            *("Run", "Model", "Seed", "Data", "Template", "Completions"),
            *("Format", "Strict accuracy", "Lenient accuracy", "Scored", "Verdicts", "Report"),
        ),
        rows=tuple(rows),
    )


def _values(found: RunFolder, folder: Path, out: Path) -> dict[str, Any]:
    def link(path: Path) -> str:
        return quote(PurePath(os.path.relpath(path, out)).as_posix())

    return {
        "version": sftkey_data.__version__,
        "title": f"Runs below {folder}",
        "subtitle": f"{len(found.runs)} scored run{'' if len(found.runs) == 1 else 's'}, as they lay there",
        "found": _found(found),
        "runs": found.runs,
        "unreadable": found.unreadable,
        "pages": [(str(page.relative_to(folder)), link(page)) for page in found.pages],
        "link": link,
        "short": _short,
        "has_seeds": any(run.seed is not None for run in found.runs),
    }


def _found(found: RunFolder) -> str:
    """In one sentence; what was asked of the runs may differ, so it ranks those of one set of questions alone."""
    if not found.runs:
        return "No run below this folder can be read."
    sets: dict[tuple[str, int], list[FoundRun]] = {}
    for run in found.runs:
        sets.setdefault((run.data, run.strict.n), []).append(run)
    (data, _), most = max(sets.items(), key=lambda each: len(each[1]))
    best = max(most, key=lambda run: run.strict.value or 0.0)
    on = f" on {data}" if data else ""
    right = f"{percent(best.strict.value)} of {best.strict.n:,} questions"
    if len(most) == 1:
        return f"{best.name} gets {right}{on} right."
    return f"Of {len(most)} runs{on}, {best.name} gets most right: {right}."


def _short(path: str) -> str:
    """The last two names of a path."""
    return "/".join(PurePath(path).parts[-2:])
