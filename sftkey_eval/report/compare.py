"""Two runs against each other, item by item: a page with every flipped item, Markdown, JSON, tables and a plot."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sftkey_data.command_line.option_file import config_record
from sftkey_data.storage.appearing import write_text
from sftkey_data.storage.own_output import shared_folder
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.disagreements import opinions
from sftkey_eval.analysis.groups import breakdowns
from sftkey_eval.analysis.loaded_runs import load_runs
from sftkey_eval.analysis.own_metrics import own_metrics
from sftkey_eval.analysis.paired_comparison import CHANGES, PAIRED_OUTCOMES, Comparison, compare_runs
from sftkey_eval.analysis.summary import Summary, summarize, summary_json
from sftkey_eval.report import charts, report_plots
from sftkey_eval.report.example_browser import paired_examples
from sftkey_eval.report.further_tables import RunNumbers, ratios_table
from sftkey_eval.report.glossary import terms
from sftkey_eval.report.opening import opening
from sftkey_eval.report.paper.table_files import write_tables
from sftkey_eval.report.render import markdown, page
from sftkey_eval.report.report import common_values, comparison_json
from sftkey_eval.report.report_tables import flipped_table, paired_table, run_tables
from sftkey_eval.report.tables import Table

SHOWN_FLIPPED = 200
"""Flipped items listed in the page and the Markdown; the table's file and the browser have them all."""


def compare(
    first: str, second: str, out: Path, allowed: Allowed | None = None, config: Path | None = None
) -> Comparison:
    """Write `compare.html`, `.md` and `.json`, `tables/` (CSV, LaTeX) and `plots/` (PNG, SVG, PDF) to a folder.

    Args:
        first: The run compared with, as `PATH` or `LABEL=PATH`.
        second: The run that is compared; differences are second less first.
        out: Folder; files of an earlier comparison in it are replaced.
        allowed: Differences to accept, and to name in the report.
        config: The file that gave options, to be recorded.

    Raises:
        SFTKeyError: A run is not there, the two cannot be paired, or `out` is no folder, or written by another process.
    """
    with shared_folder(out, ("compare.html", "compare.md", "compare.json"), ("plots", "tables")):
        return _compare(first, second, out, allowed, config)


def _compare(first: str, second: str, out: Path, allowed: Allowed | None, config: Path | None) -> Comparison:
    before, now = load_runs([first, second])
    comparison = compare_runs(before, now, allowed)
    summaries = {run.label: summarize(run.verdicts, run.policy) for run in (before, now)}
    tables = comparison_tables(comparison, summaries)
    values = _values(comparison, summaries) | {"tables": {table.name: table for table in tables}}
    write_tables(tables, out / "tables")
    drawn = report_plots.write_plots(report_plots.forest_figure(values["forest"]), out / "plots")
    write_sealed(out / "compare.json", compare_json(comparison, summaries) | {"config": config_record(config)})
    write_text(out / "compare.md", markdown("compare.md.j2", **values, drawn=drawn))
    write_text(out / "compare.html", page("compare.html.j2", paired_examples(comparison), **values))
    return comparison


def compare_json(comparison: Comparison, summaries: dict[str, Summary]) -> dict[str, Any]:
    """Every number of a comparison, and the ids of the flipped items."""
    return {
        "schema_version": 1,
        "found": opening(summaries, [comparison]),
        **comparison_json(comparison),
        "runs": [{"label": label, **summary_json(summary)} for label, summary in summaries.items()],
        "flipped": flipped(comparison),
    }


def comparison_line(comparison: Comparison, out: Path) -> str:
    """Differences and counts in one line for stdout."""
    rates = {
        name: {"difference": rate.difference, "lost": rate.lost, "gained": rate.gained, "p_mid": rate.p_mid}
        for name, rate in comparison.rates.items()
    }
    return json.dumps({"report": str(out / "compare.html"), **rates})


def comparison_tables(comparison: Comparison, summaries: dict[str, Summary]) -> list[Table]:
    """Every table of a comparison, in reading order."""
    runs = [comparison.first, comparison.second]
    groups = breakdowns(runs)
    numbers = RunNumbers(
        runs=runs,
        summaries=summaries,
        breakdowns=groups,
        seconds=opinions(runs),
        metrics=own_metrics(runs, groups),
    )
    first, *others = run_tables(numbers)
    paired = [paired_table([comparison], tuple(PAIRED_OUTCOMES)), ratios_table([comparison])]
    return [first, *paired, flipped_table(comparison), *others]


def flipped(comparison: Comparison) -> dict[str, list[str]]:
    """Ids by change, for the changes that are one."""
    found, ids = comparison.changes, comparison.first.verdicts.column("id")
    flips = [name for name in CHANGES if not name.startswith("both")]
    return {name: ids.filter(pa.array(found[name])).to_pylist() for name in flips}


def _values(comparison: Comparison, summaries: dict[str, Summary]) -> dict[str, Any]:
    runs = [comparison.first, comparison.second]
    common = common_values(runs, summaries)
    accepted = [f"Compared although they have {difference}." for difference in comparison.accepted]
    changes = comparison.changes
    num_items = comparison.rates["strict"].num_items
    return {
        **common,
        "title": f"{comparison.second.label} against {comparison.first.label}",
        "subtitle": f"{num_items:,} items, paired · policy and golds are the same",
        "warnings": [*accepted, *common["warnings"]],
        "found": opening(summaries, [comparison]),
        "first": comparison.first.label,
        "second": comparison.second.label,
        "num_items": num_items,
        "forest": charts.forest([comparison], tuple(PAIRED_OUTCOMES)),
        "seconds": opinions(runs),
        "shown_flipped": SHOWN_FLIPPED,
        "comparisons": [comparison],
        "change_counts": {name: int(np.count_nonzero(changes[name])) for name in CHANGES},
        "flipped": flipped(comparison),
        "reading": terms("rates", "pairs", "non_inferiority"),
    }
