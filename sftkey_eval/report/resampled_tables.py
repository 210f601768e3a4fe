"""Tables of what is resampled or measured in other ways beside the rates: samples, seeds, ratios, format levels."""

from collections.abc import Mapping, Sequence

from sftkey_eval.analysis.arms import ArmComparison
from sftkey_eval.analysis.paired_comparison import Comparison
from sftkey_eval.analysis.summary import Summary
from sftkey_eval.report.tables import Cell, Table

RESAMPLED_TITLES = {"format": "Format", "strict": "Strict accuracy", "lenient": "Lenient accuracy"}


def levels_table(summaries: Mapping[str, Summary]) -> Table:
    """The format at its three levels."""
    return Table(
        name="format_levels",
        caption="Format rate at three levels: read strictly; text around and loose marks forgiven; both parts there.",
        columns=("Run", "Strict", "Tolerant", "Present"),
        rows=tuple((label, s.format, s.format_tolerant, s.format_present) for label, s in summaries.items()),
    )


def samples_table(summaries: Mapping[str, Summary]) -> Table:
    """pass@k and the majority of the runs that have several samples per item."""
    found = {label: s.samples for label, s in summaries.items() if s.samples is not None}
    sizes = sorted({k for rates in found.values() for k in rates.pass_at})
    rows: list[tuple[Cell, ...]] = [
        (label, rates.num_items, rates.num_samples, *(rates.pass_at.get(k) for k in sizes), rates.majority)
        for label, rates in found.items()
    ]
    return Table(
        name="samples",
        caption="Several samples per item, means over the items with Student's 95 % interval: the chance that one of k "
        "samples is correct, and whether the majority of all is.",
        columns=("Run", "Items", "Samples", *(f"pass@{k}" for k in sizes), "Majority"),
        rows=tuple(rows),
    )


def resampled_table(comparisons: Sequence[Comparison]) -> Table:
    """Differences that are no differences of counts."""
    return Table(
        name="resampled",
        caption="Differences in points with bootstrap 95 % intervals over the items, drawn in pairs; seeded.",
        columns=("Pair", "Accuracy among format-valid", "Composite 0.7/0.3"),
        rows=tuple((f"{c.second.label} - {c.first.label}", c.given_format, c.composite) for c in comparisons),
    )


def arms_table(arms: Sequence[ArmComparison]) -> Table:
    """Arms with several seeds against the first arm."""
    return Table(
        name="arms",
        caption="Arms over their seeds: differences in points with bootstrap 95 % intervals over items and seeds; an "
        "arm with a single seed has no interval.",
        columns=("Pair", "Items", "Seeds", *RESAMPLED_TITLES.values()),
        rows=tuple(
            (
                f"{arm.second} - {arm.first}",
                arm.num_items,
                f"{arm.num_seeds[1]} and {arm.num_seeds[0]}",
                *(arm.rates[name] for name in RESAMPLED_TITLES),
            )
            for arm in arms
        ),
    )
