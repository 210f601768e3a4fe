"""The report on one or several runs, from verdicts alone: a page, Markdown, JSON, tables and plots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sftkey_data
from sftkey_data.command_line.option_file import config_record
from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import write_text
from sftkey_data.storage.own_output import shared_folder
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.arms import ArmComparison, ArmRates, arm_rates, arms, compare_arms
from sftkey_eval.analysis.disagreements import Opinions, opinions
from sftkey_eval.analysis.groups import Breakdown, breakdowns
from sftkey_eval.analysis.loaded_runs import Run, load_runs
from sftkey_eval.analysis.own_metrics import OwnMetric, own_metrics
from sftkey_eval.analysis.paired_comparison import CHANGES, Comparison, compare_runs
from sftkey_eval.analysis.provenance import facts, provenance_json, warnings
from sftkey_eval.analysis.summary import HEADLINE, PAPER_WEIGHT, Summary, summarize, summary_json
from sftkey_eval.report import charts, report_plots
from sftkey_eval.report.example_browser import CLASS_LABELS, single_examples
from sftkey_eval.report.further_tables import (
    ARM_PAIRS_CAPTION,
    ARMS_CAPTION,
    RunNumbers,
    arm_pairs_table,
    arms_table,
    ratios_table,
)
from sftkey_eval.report.glossary import terms
from sftkey_eval.report.opening import opening
from sftkey_eval.report.paper.table_files import write_tables
from sftkey_eval.report.printed import OUTCOME_TITLES, finding, format_statement, shown_from
from sftkey_eval.report.render import markdown, page
from sftkey_eval.report.report_tables import (
    RATES_CAPTION,
    classes_seen,
    codes_seen,
    paired_table,
    run_tables,
)
from sftkey_eval.report.tables import Table, markdown_table, shown_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says: summaries by label, comparisons with the first run, and why others could not be made."""

    runs: list[Run]
    summaries: dict[str, Summary]
    breakdowns: list[Breakdown]
    seconds: dict[str, Opinions]
    metrics: list[OwnMetric]
    comparisons: list[Comparison]
    arms: list[ArmComparison]
    arm_rates: list[ArmRates]
    not_paired: list[str]

    @property
    def found(self) -> str:
        """What it says, in one sentence."""
        return opening(self.summaries, self.comparisons, self.arm_rates, self.arms)

    @property
    def tables(self) -> list[Table]:
        """Every table, in reading order."""
        found = [arms_table(self.arm_rates), arm_pairs_table(self.arms)]
        first, *others = run_tables(
            RunNumbers(
                runs=self.runs,
                summaries=self.summaries,
                breakdowns=self.breakdowns,
                seconds=self.seconds,
                metrics=self.metrics,
            )
        )
        paired = [paired_table(self.comparisons, tuple(OUTCOME_TITLES)), ratios_table(self.comparisons)]
        return [table for table in (*found, first, *paired, *others) if table.rows]


def report(specs: Sequence[str], out: Path, allowed: Allowed | None = None, config: Path | None = None) -> Report:
    """Write `report.html`, `report.md`, `report.json`, `tables/` (CSV, LaTeX) and `plots/` (PNG, SVG, PDF) to a folder.

    Args:
        specs: Runs as `PATH` or `LABEL=PATH`; the first is the one others are compared with. Runs under one label are
            the seeds of an arm, which are compared together too.
        out: Folder; files of an earlier report in it are replaced.
        allowed: Differences accepted when runs are paired.
        config: The file that gave options, to be recorded.

    Raises:
        SFTKeyError: A run is not there, is empty, or two share a label; `out` is no folder, or written by another
            process.
    """
    if not specs:
        raise SFTKeyError("no runs given, expected at least one run directory or verdicts file")
    with shared_folder(out, ("report.html", "report.md", "report.json"), ("plots", "tables")):
        return _report(specs, out, allowed, config)


def _report(specs: Sequence[str], out: Path, allowed: Allowed | None, config: Path | None) -> Report:
    made = make_report(load_runs(specs), allowed)
    values = _values(made)
    figures = report_plots.run_figures(made.summaries, made.breakdowns, values["scatter"], values["forest"])
    drawn = report_plots.write_plots(figures, out / "plots")
    write_tables(made.tables, out / "tables")
    write_sealed(out / "report.json", report_json(made) | {"config": config_record(config)})
    write_text(out / "report.md", markdown("report.md.j2", **values, drawn=drawn))
    write_text(out / "report.html", page("report.html.j2", single_examples(made.runs, made.comparisons), **values))
    return made


def make_report(runs: list[Run], allowed: Allowed | None = None) -> Report:
    """The numbers of a report; runs that cannot be paired with the first are named with the reason."""
    comparisons, not_paired = [], []
    groups = breakdowns(runs)
    for run in runs[1:]:
        try:
            comparisons.append(compare_runs(runs[0], run, allowed))
        except SFTKeyError as error:
            not_paired.append(str(error))
    return Report(
        runs=runs,
        summaries={run.label: summarize(run.verdicts, run.policy) for run in runs},
        breakdowns=groups,
        seconds=opinions(runs),
        metrics=own_metrics(runs, groups),
        comparisons=comparisons,
        arms=[] if not_paired else compare_arms(runs, allowed),
        arm_rates=[] if not_paired else arm_rates(runs),
        not_paired=not_paired,
    )


def report_json(made: Report) -> dict[str, Any]:
    """Every number of a report as JSON-able values."""
    return {
        "schema_version": 1,
        "code_version": sftkey_data.__version__,
        "found": made.found,
        **arms_json(made),
        "runs": [
            {"label": run.label, **summary_json(made.summaries[run.label]), "provenance": provenance_json(run)}
            for run in made.runs
        ],
        "breakdowns": [breakdown.to_json() for breakdown in made.breakdowns],
        "metrics": [asdict(metric) for metric in made.metrics],
        "second_grader": second_json(made.seconds),
        "paired": [comparison_json(comparison) for comparison in made.comparisons],
        "not_paired": made.not_paired,
    }


def arms_json(made: Report) -> dict[str, Any]:
    """The arms over their seeds, with what their differences show; empty lists where there are none."""
    return {
        "arms": [
            asdict(arm)
            | {
                "rates": {
                    name: {**asdict(rate), "shown": rate.shown, "finding": finding(rate)}
                    for name, rate in arm.rates.items()
                }
            }
            for arm in made.arms
        ],
        "arm_rates": [asdict(arm) for arm in made.arm_rates],
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
        "given_format": asdict(comparison.given_format),
        "composite": asdict(comparison.composite),
        "composite_curve": [{"weight": w, **asdict(found)} for w, found in comparison.composite_curve.items()],
    }


def second_json(seconds: Mapping[str, Opinions]) -> dict[str, Any]:
    """The second grader's disagreements by run, with the ids."""
    return {
        label: {**asdict(second.disagreement), "ids": list(second.differing)} | {"unparsable": second.unparsable}
        for label, second in seconds.items()
    }


def report_line(made: Report, out: Path) -> str:
    """What the arms show, if there are any, and the headline counts of every run, in one line for stdout."""
    runs = {
        label: {name: {"k": rate.k, "n": rate.n} for name, rate in summary.headline.items()}
        for label, summary in made.summaries.items()
    }
    found = arms_json(made) if made.arm_rates else {}
    said = {"report": str(out / "report.html"), "found": made.found}
    return json.dumps({**said, **found, "runs": runs}, ensure_ascii=False)


def common_values(runs: Sequence[Run], summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """What every page needs."""
    return {
        "version": sftkey_data.__version__,
        "runs": runs,
        "summaries": summaries,
        "headline": HEADLINE,
        "class_labels": CLASS_LABELS,
        "classes_seen": classes_seen(summaries),
        "codes": codes_seen(summaries),
        "code_meanings": terms("codes"),
        "change_labels": CHANGES,
        "outcome_titles": OUTCOME_TITLES,
        "paper_weight": PAPER_WEIGHT,
        "warnings": warnings(runs, summaries),
        "facts": facts,
        "finding": finding,
        "format_statement": format_statement,
        "markdown_table": markdown_table,
        "rates_caption": RATES_CAPTION,
        "shown_from": shown_from,
        "shown": shown_cell,
    }


def _values(made: Report) -> dict[str, Any]:
    return {
        **common_values(made.runs, made.summaries),
        "title": "Evaluation report",
        "subtitle": _subtitle(made),
        "found": made.found,
        "arms": made.arms,
        "arm_rates": made.arm_rates,
        "arms_caption": ARMS_CAPTION,
        "arm_pairs_caption": ARM_PAIRS_CAPTION,
        "comparisons": made.comparisons,
        "not_paired": made.not_paired,
        "breakdowns": made.breakdowns,
        "seconds": made.seconds,
        "tables": {table.name: table for table in made.tables},
        "forest": charts.forest(made.comparisons, tuple(OUTCOME_TITLES)),
        "scatter": charts.scatter(made.runs, made.summaries),
        "curve": charts.curve(made.summaries),
        "reading": terms(*_sections(made)),
    }


def _sections(made: Report) -> list[str]:
    """What of the glossary a report needs."""
    arms_terms = ["arms"] if made.arm_rates else []
    return ["rates", *arms_terms, "classes", *(["pairs", "non_inferiority"] if made.comparisons else [])]


def _subtitle(made: Report) -> str:
    sizes = sorted({summary.num_items for summary in made.summaries.values()})
    items = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    datasets = sorted({name for run in made.runs for name in run.verdicts.counts("dataset") if name})
    templates = sorted({run.template.name for run in made.runs})
    by_arm = arms(made.runs)
    parts = [
        *([f"{len(by_arm)} arm{'s' if len(by_arm) > 1 else ''}"] if len(by_arm) < len(made.runs) else []),
        f"{len(made.runs)} run{'s' if len(made.runs) > 1 else ''}",
        f"{items} items each" if len(made.runs) > 1 else f"{items} items",
        *([f"data: {', '.join(datasets)}"] if datasets else []),
        f"template: {', '.join(templates)}",
    ]
    return " · ".join(parts)
