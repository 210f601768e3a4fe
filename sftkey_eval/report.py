"""The report on one or several runs: HTML, Markdown, JSON and plots, from verdicts alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sftkey_data
from sftkey_data.errors import SFTKeyError
from sftkey_eval import plots
from sftkey_eval.examples import CLASS_LABELS, single_examples
from sftkey_eval.paired import CHANGES, Allowed, Comparison, PairedRate, compare_runs
from sftkey_eval.provenance import facts, provenance_json, warnings
from sftkey_eval.reading import terms
from sftkey_eval.render import counts, interval, markdown, p_value, page, percent, points
from sftkey_eval.runs import Run, load_runs
from sftkey_eval.summary import HEADLINE, Summary, summarize, summary_json

SHOWN_PAIRED = ("format", "strict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says: summaries by label, comparisons with the first run, and why others could not be made."""

    runs: list[Run]
    summaries: dict[str, Summary]
    comparisons: list[Comparison]
    not_paired: list[str]


def report(specs: Sequence[str], out: Path, allowed: Allowed | None = None) -> Report:
    """Write `report.html`, `report.md`, `report.json` and the plots of some runs to a folder.

    Args:
        specs: Runs as `PATH` or `LABEL=PATH`; the first is the one others are compared with.
        out: Folder; files of an earlier report in it are replaced.
        allowed: Differences accepted when runs are paired.

    Raises:
        SFTKeyError: A run is not there, is empty, or two share a label.
    """
    if not specs:
        raise SFTKeyError("no runs given, expected at least one run directory or verdicts file")
    made = make_report(load_runs(specs), allowed)
    out.mkdir(parents=True, exist_ok=True)
    plots.write_plots(made.summaries, out)
    values = _values(made)
    examples = single_examples(made.runs, made.comparisons)
    write_json(out / "report.json", report_json(made))
    write_text(out / "report.md", markdown("report.md.j2", **values))
    write_text(out / "report.html", page("report.html.j2", examples, **values))
    return made


def make_report(runs: list[Run], allowed: Allowed | None = None) -> Report:
    """The numbers of a report; runs that cannot be paired with the first are named with the reason."""
    comparisons, not_paired = [], []
    for run in runs[1:]:
        try:
            comparisons.append(compare_runs(runs[0], run, allowed))
        except SFTKeyError as error:
            not_paired.append(str(error))
    summaries = {run.label: summarize(run.verdicts) for run in runs}
    return Report(runs=runs, summaries=summaries, comparisons=comparisons, not_paired=not_paired)


def report_json(made: Report) -> dict[str, Any]:
    """Every number of a report as JSON-able values."""
    return {
        "schema_version": 1,
        "code_version": sftkey_data.__version__,
        "runs": [
            {"label": run.label, **summary_json(made.summaries[run.label]), "provenance": provenance_json(run)}
            for run in made.runs
        ],
        "paired": [comparison_json(comparison) for comparison in made.comparisons],
        "not_paired": made.not_paired,
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A paired comparison as JSON-able values."""
    return {
        "first": comparison.first.label,
        "second": comparison.second.label,
        "accepted_differences": list(comparison.accepted),
        "rates": {name: {**asdict(rate), "shown": rate.shown} for name, rate in comparison.rates.items()},
        "format_non_inferior": comparison.format_non_inferior,
        "format_p_non_inferior": comparison.format_p_non_inferior,
    }


def line_json(made: Report, out: Path) -> str:
    """The headline counts of every run in one line for stdout."""
    runs = {
        label: {name: {"k": rate.k, "n": rate.n} for name, rate in summary.headline.items()}
        for label, summary in made.summaries.items()
    }
    return json.dumps({"report": str(out / "report.html"), "runs": runs})


def headline_table(summaries: Mapping[str, Summary]) -> str:
    """The headline numbers as plain text for a terminal."""
    rows = [["run", *HEADLINE.values()]]
    for label, summary in summaries.items():
        rates = summary.headline.values()
        rows.append([label, *(f"{percent(r.value)} [{interval(r.low, r.high)}] {counts(r)}" for r in rates)])
    return _columns(rows)


def paired_table(comparisons: Sequence[Comparison]) -> str:
    """The paired differences as plain text for a terminal."""
    rows = [["paired", "rate", "difference, points", "lost", "gained", "mid-p", "finding"]]
    for comparison in comparisons:
        against = f"{comparison.second.label} - {comparison.first.label}"
        for _, title, rate, _ in paired_rows([comparison], SHOWN_PAIRED):
            span = f"{points(rate.difference)} [{points(rate.low)}, {points(rate.high)}]"
            said = finding(rate)
            rows.append([against, title, span, str(rate.lost), str(rate.gained), p_value(rate.p_mid), said])
    return _columns(rows)


def finding(rate: PairedRate) -> str:
    """What a paired rate shows, in words; beside a null result, what could have been shown."""
    if rate.shown:
        return "higher" if rate.difference > 0 else "lower"
    return f"no difference shown; 80 % power begins at {100 * rate.detectable:.1f} points"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def paired_rows(comparisons: Sequence[Comparison], names: Sequence[str]) -> list[tuple[str, str, PairedRate, float]]:
    """Rows of the paired table: label, rate, numbers, and the reach of the drawn track as a proportion."""
    titles = {"format": "Format", "strict": "Strict accuracy", "lenient": "Lenient accuracy"}
    shown = [(comparison, name, comparison.rates[name]) for comparison in comparisons for name in names]
    reach = max((max(abs(rate.low), abs(rate.high)) for _, _, rate in shown), default=1.0) or 1.0
    return [(comparison.second.label, titles[name], rate, reach) for comparison, name, rate in shown]


def common_values(runs: Sequence[Run], summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """What every page needs."""
    seen = {name for summary in summaries.values() for name, rate in summary.error_classes.items() if rate.k}
    codes = {code for summary in summaries.values() for code in summary.format_errors}
    return {
        "version": sftkey_data.__version__,
        "runs": runs,
        "summaries": summaries,
        "headline": HEADLINE,
        "class_labels": CLASS_LABELS,
        "classes_seen": seen,
        "codes": sorted(codes),
        "code_meanings": terms("codes"),
        "change_labels": CHANGES,
        "warnings": warnings(runs, summaries),
        "facts": facts,
        "finding": finding,
    }


def write_text(path: Path, text: str) -> None:
    """Write a file that appears under its name only when it is complete."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, complete or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _values(made: Report) -> dict[str, Any]:
    return {
        **common_values(made.runs, made.summaries),
        "title": "Evaluation report",
        "subtitle": _subtitle(made),
        "comparisons": made.comparisons,
        "not_paired": made.not_paired,
        "paired_rows": paired_rows(made.comparisons, SHOWN_PAIRED),
        "curve": {
            "lines": plots.curve_lines(made.summaries),
            "left": plots.LEFT,
            "right": plots.RIGHT,
            "top": plots.TOP,
            "bottom": plots.BOTTOM,
        },
        "reading": terms("rates", "classes", *(("pairs",) if made.comparisons else ())),
    }


def _subtitle(made: Report) -> str:
    sizes = sorted({summary.num_items for summary in made.summaries.values()})
    items = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    datasets = sorted({verdict.dataset for run in made.runs for verdict in run.verdicts if verdict.dataset})
    templates = sorted({run.template.name for run in made.runs})
    parts = [
        f"{len(made.runs)} run{'s' if len(made.runs) > 1 else ''}",
        f"{items} items each" if len(made.runs) > 1 else f"{items} items",
        *([f"data: {', '.join(datasets)}"] if datasets else []),
        f"template: {', '.join(templates)}",
    ]
    return " · ".join(parts)
