"""The tables of a report and of a comparison, from its numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sftkey_eval.analysis.groups import Breakdown
from sftkey_eval.analysis.paired_comparison import CHANGES, Comparison
from sftkey_eval.analysis.summary import COMPOSITE_WEIGHTS, HEADLINE, PAPER_WEIGHT, Summary
from sftkey_eval.report.example_browser import CLASS_LABELS
from sftkey_eval.report.further_tables import (
    RunNumbers,
    levels_table,
    mendable_table,
    metric_groups_table,
    metrics_table,
    samples_table,
)
from sftkey_eval.report.glossary import terms
from sftkey_eval.report.printed import OUTCOME_TITLES, finding, shown_from
from sftkey_eval.report.tables import Cell, Table
from sftkey_eval.statistics.item_means import Estimate

RATES_CAPTION = (
    "Percent, with counts and Wilson's 95 % interval; with several samples per item, for what the items are worth."
)


def run_tables(numbers: RunNumbers) -> list[Table]:
    """What is said of each run by itself, see `RUN_TABLES`; a table of nothing is left out."""
    by_group = [metric_groups_table(numbers, breakdown) for breakdown in numbers.breakdowns]
    tables = [*(table(numbers) for table in RUN_TABLES), *map(breakdown_table, numbers.breakdowns), *by_group]
    return [table for table in tables if table.rows]


def headline_table(numbers: RunNumbers) -> Table:
    """The four rates, the composite, and what could not be decided."""
    summaries = numbers.summaries
    return Table(
        name="headline",
        has_section=True,
        caption=RATES_CAPTION,
        columns=(
            "Run",
            *HEADLINE.values(),
            "Composite 0.7/0.3",
            "Undecided",
            "Unscored",
            "If undecided wrong",
            "If undecided right",
        ),
        rows=tuple(
            (
                label,
                *summary.headline.values(),
                _at_paper_weight(summary),
                summary.undecided,
                summary.unscored,
                Estimate(summary.strict_if_wrong, None, None),
                Estimate(summary.strict_if_right, None, None),
            )
            for label, summary in summaries.items()
        ),
    )


def _at_paper_weight(summary: Summary) -> Estimate:
    point = next(point for point in summary.composite_curve if point.weight == PAPER_WEIGHT)
    return Estimate(summary.composite, point.low, point.high)


def classes_table(numbers: RunNumbers) -> Table:
    """Every item in one class; lucky over the correct."""
    summaries = numbers.summaries
    seen = classes_seen(summaries)
    return Table(
        name="error_classes",
        has_section=True,
        caption="Every item is in exactly one class; lucky are counted over the correct.",
        columns=("Run", *(CLASS_LABELS[name] for name in seen), "lucky"),
        rows=tuple(
            (label, *(summary.error_classes[name] for name in seen), summary.lucky)
            for label, summary in summaries.items()
        ),
    )


def classes_seen(summaries: Mapping[str, Summary]) -> list[str]:
    """Classes that at least one item of one run is in, in order."""
    return [name for name in CLASS_LABELS if any(s.error_classes[name].k for s in summaries.values())]


def codes_seen(summaries: Mapping[str, Summary]) -> list[str]:
    """Format errors that occur, in order."""
    return sorted({code for summary in summaries.values() for code in summary.format_errors})


def codes_table(numbers: RunNumbers) -> Table:
    """Malformed completions by code."""
    summaries = numbers.summaries
    meanings = terms("codes")
    return Table(
        name="format_errors",
        has_section=True,
        caption="Malformed completions by code.",
        columns=("Code", *summaries, "Meaning"),
        rows=tuple(
            (code, *(summary.format_errors.get(code, 0) for summary in summaries.values()), meanings.get(code, ""))
            for code in codes_seen(summaries)
        ),
    )


def composite_table(numbers: RunNumbers) -> Table:
    """The composite at every tenth of the weight."""
    summaries = numbers.summaries
    return Table(
        name="composite",
        has_section=True,
        caption="Percent with 95 % intervals over the items: accuracy weighted by the weight, format by the "
        "rest; the paper's weight is 0.7.",
        columns=("Run", *(f"Weight {weight:.1f}" for weight in COMPOSITE_WEIGHTS)),
        rows=tuple(
            (label, *(Estimate(point.value, point.low, point.high) for point in summary.composite_curve))
            for label, summary in summaries.items()
        ),
    )


def breakdown_table(breakdown: Breakdown) -> Table:
    """Strict accuracy by group and run."""
    unit = f", {breakdown.unit}" if breakdown.unit else ""
    return Table(
        name=f"by_{breakdown.name}",
        has_section=True,
        caption=f"Strict accuracy by {breakdown.title}, over all items of the group.",
        columns=(f"{breakdown.title[0].upper()}{breakdown.title[1:]}{unit}", *breakdown.rates),
        rows=tuple(
            (group, *(rates[index] for rates in breakdown.rates.values()))
            for index, group in enumerate(breakdown.groups)
        ),
    )


def second_table(numbers: RunNumbers) -> Table:
    """How often a second grader sees a Key otherwise."""
    return Table(
        name="second_grader",
        has_section=True,
        caption="Answers that a second grader sees otherwise, over those that both graded: Keys, and the best "
        "candidates of malformed completions.",
        columns=("Run", "Disagreement", "Unparsable"),
        rows=tuple((label, second.disagreement, second.unparsable) for label, second in numbers.seconds.items()),
    )


def paired_table(comparisons: Sequence[Comparison], names: Sequence[str]) -> Table:
    """Differences in pairs, with what a null result could have shown."""
    rows: list[tuple[Cell, ...]] = [
        (
            f"{comparison.second.label} - {comparison.first.label}",
            OUTCOME_TITLES[name],
            rate,
            rate.lost,
            rate.gained,
            rate.p_mid,
            rate.p_exact,
            shown_from(rate.detectable),
            finding(rate),
        )
        for comparison in comparisons
        for name, rate in ((name, comparison.rates[name]) for name in names)
    ]
    return Table(
        name="paired",
        has_section=True,
        caption="Differences in points with Newcombe's 95 % interval; lost (b) and gained (c) items; McNemar's test. "
        "Items with several samples count once, by the mean of their samples: the exact test of the items' signs.",
        columns=(
            "Pair",
            "Rate",
            "Difference",
            "Lost (b)",
            "Gained (c)",
            "Mid-p",
            "Exact p",
            "Shown from, points",
            "Finding",
        ),
        rows=tuple(rows),
    )


def flipped_table(comparison: Comparison) -> Table:
    """Every item that one run has right or well-formed and the other has not."""
    found = comparison.changes
    rows: list[tuple[Cell, ...]] = [
        (
            title,
            before.id,
            before.gold or "",
            before.predicted or "",
            now.predicted or "",
            before.error_class,
            now.error_class,
        )
        for change, title in CHANGES.items()
        if not change.startswith("both")
        for before, now in comparison.at(np.flatnonzero(found[change]))
    ]
    return Table(
        name="flipped",
        has_section=True,
        caption="Items that changed between the runs.",
        columns=("Change", "Item", "Gold", "First predicted", "Second predicted", "First class", "Second class"),
        rows=tuple(rows),
    )


RUN_TABLES: tuple[Callable[[RunNumbers], Table], ...] = (
    headline_table,
    levels_table,
    samples_table,
    classes_table,
    mendable_table,
    codes_table,
    composite_table,
    second_table,
    metrics_table,
)
"""The tables on runs by themselves, in reading order, the headline first. A new one is its function and its name here:
files, page and Markdown show it."""
