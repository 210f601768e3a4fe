"""The tables of a report as values, and as CSV and Markdown.

A cell keeps its numbers: CSV spreads a rate or a difference over columns, the other forms print it for people.
"""

import csv
import io
import re
from dataclasses import dataclass

from sftkey_eval.analysis.own_metrics import MetricMean
from sftkey_eval.analysis.paired_comparison import PairedEstimate, PairedRate
from sftkey_eval.analysis.summary import Rate
from sftkey_eval.report.printed import cell, counts, interval, percent, points
from sftkey_eval.statistics.item_means import Estimate

Cell = str | int | float | None | Rate | Estimate | PairedRate | PairedEstimate | MetricMean


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: `name` is its file's stem, `columns` are for people, every row has one cell per column."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    has_section: bool = False
    """A section of the page and of the Markdown shows what it says; the others stand together near the end."""


def csv_text(table: Table) -> str:
    """CSV with a header line; a rate has the columns `X_k`, `X_n`, `X`, `X_low` and `X_high`, proportions in [0, 1].

    Text is as it was, except that what a spreadsheet would run as a formula gets a leading apostrophe.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    header, rows = spread(table)
    writer.writerow(header)
    writer.writerows([_no_formula(value) for value in row] for row in rows)
    return lines.getvalue()


def spread(table: Table) -> tuple[list[str], list[list[str | int | float | None]]]:
    """The names and the rows of a table with one number or text a cell, as its CSV file has them."""
    kinds = _kinds(table)
    rows = [[part for cell, kind in zip(row, kinds, strict=True) for part in _parts(cell, kind)] for row in table.rows]
    return _header(table), rows


def markdown_table(table: Table) -> str:
    """A pipe table."""
    first = table.rows[0] if table.rows else ("",) * len(table.columns)
    rows = [
        [cell(column) for column in table.columns],
        ["---" if isinstance(value, str) else "---:" for value in first],
        *([cell(value) if isinstance(value, str) else shown_cell(value) for value in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def shown_cell(value: Cell) -> str:
    """A cell for people."""
    match value:
        case None:
            return "–"
        case Rate():
            return f"{percent(value.value)} ({interval(value.low, value.high)}; {counts(value)})"
        case Estimate():
            return percent(value.value) + ("" if value.low is None else f" ({interval(value.low, value.high)})")
        case MetricMean():
            spread = "" if value.low is None else f"{value.low:.4g} – {value.high:.4g}; "
            return f"{value.value:.4g} ({spread}n {value.n})"
        case PairedRate() | PairedEstimate():
            if value.difference is None:
                return "–"
            if value.low is None or value.high is None:
                return points(value.difference)
            return f"{points(value.difference)} ({points(value.low)} to {points(value.high)})"
        case float():
            return "<\u202f0.001" if 0 < value < 0.001 else f"{value:.3f}"
        case int():
            return f"{value:,}"
    return value


def _header(table: Table) -> list[str]:
    stems: list[str] = []
    for index, title in enumerate(table.columns):
        stem = re.sub(r"\W+", "_", title.lower()).strip("_") or "column"
        stems.append(f"{stem}_{index}" if stem in stems else stem)  # two labels may differ in marks alone
    return [name for stem, kind in zip(stems, _kinds(table), strict=True) for name in _names(stem, kind)]


def _kinds(table: Table) -> list[Cell]:
    """A cell of every column that says what its others are: one without a number takes as many places as they do."""
    columns = zip(*table.rows, strict=True) if table.rows else [("",)] * len(table.columns)
    return [next((value for value in column if value is not None), None) for column in columns]


def _names(name: str, value: Cell) -> list[str]:
    match value:
        case Rate():
            return [f"{name}_k", f"{name}_n", name, f"{name}_low", f"{name}_high"]
        case MetricMean():
            return [f"{name}_n", name, f"{name}_low", f"{name}_high"]
        case PairedRate() | PairedEstimate() | Estimate():
            return [name, f"{name}_low", f"{name}_high"]
    return [name]


def _parts(value: Cell, kind: Cell) -> list[str | int | float | None]:
    match value:
        case None:
            return [None] * len(_names("", kind))
        case Rate():
            return [value.k, value.n, value.value, value.low, value.high]
        case MetricMean():
            return [value.n, value.value, value.low, value.high]
        case PairedRate() | PairedEstimate():
            return [value.difference, value.low, value.high]
        case Estimate():
            return [value.value, value.low, value.high]
    return [value]


def _no_formula(value: str | float | None) -> str | float | None:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and not _number(value)
    return f"'{value}" if is_formula else value


def _number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[\d.,]+", text) is not None
