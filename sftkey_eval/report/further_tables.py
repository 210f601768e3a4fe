"""Tables of what is measured beside the rates of a run: format levels, samples, ratios, arms over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sftkey_eval.analysis.arms import ArmComparison, ArmRates
from sftkey_eval.analysis.disagreements import Opinions
from sftkey_eval.analysis.groups import Breakdown
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.own_metrics import OwnMetric
from sftkey_eval.analysis.paired_comparison import Comparison, PairedEstimate
from sftkey_eval.analysis.summary import Summary, rate
from sftkey_eval.report.printed import OUTCOME_TITLES, finding, shown_from
from sftkey_eval.report.tables import Cell, Table
from sftkey_eval.statistics.arm_seeds import SeedEstimate
from sftkey_eval.statistics.item_means import Estimate

ARMS_CAPTION = "Percent with 95 % intervals over items and seeds; an arm with one seed has no interval."
ARM_PAIRS_CAPTION = (
    "Arms against the first, differences in points with 95 % intervals over items and seeds: Newcombe's over the items "
    "and Welch's over the seeds, by square-and-add; and the smallest difference found with 80 % power."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNumbers:
    """What is known of each run by itself, by its label: what a table of a report is made of."""

    runs: Sequence[Run]
    summaries: Mapping[str, Summary]
    breakdowns: Sequence[Breakdown]
    seconds: Mapping[str, Opinions]
    metrics: Sequence[OwnMetric]


def levels_table(numbers: RunNumbers) -> Table:
    """The format at its three levels."""
    return Table(
        name="format_levels",
        has_section=True,
        caption="Format rate at three levels: read strictly; text around and loose marks forgiven; both parts there.",
        columns=("Run", "Strict", "Tolerant", "Present"),
        rows=tuple((label, s.format, s.format_tolerant, s.format_present) for label, s in numbers.summaries.items()),
    )


def mendable_table(numbers: RunNumbers) -> Table:
    """The errors that a stage 2 on the answer can mend."""
    found = {label: summary.headroom for label, summary in numbers.summaries.items()}
    return Table(
        name="headroom",
        has_section=True,
        caption="Slips and format errors, the errors behind the CoT: as many points a stage 2 on the answer can mend "
        "directly. Of the undecided and those without an answer it cannot be told.",
        columns=("Run", "Slips or format, of all", "Slips or format, of the errors", "Undecided or no answer, of all"),
        rows=tuple(
            (label, rate(room.mendable, room.n), rate(room.mendable, room.errors), rate(room.untold, room.n))
            for label, room in found.items()
        ),
    )


def samples_table(numbers: RunNumbers) -> Table:
    """pass@k and the majority of the runs that have several samples per item."""
    found = {label: s.samples for label, s in numbers.summaries.items() if s.samples is not None}
    sizes = sorted({k for rates in found.values() for k in rates.pass_at})
    rows: list[tuple[Cell, ...]] = [
        (label, rates.num_items, rates.num_samples, *(rates.pass_at.get(k) for k in sizes), rates.majority)
        for label, rates in found.items()
    ]
    return Table(
        name="samples",
        has_section=True,
        caption="Several samples per item, means over the items with their 95 % interval: the chance that one of k "
        "samples is correct, and whether the majority of all is.",
        columns=("Run", "Items", "Samples", *(f"pass@{k}" for k in sizes), "Majority"),
        rows=tuple(rows),
    )


def metrics_table(numbers: RunNumbers) -> Table:
    """What a user's own metrics say of each run."""
    metrics = numbers.metrics
    said = "; ".join(f"{metric.name}: {metric.description or 'no description'}" for metric in metrics)
    return Table(
        name="metrics",
        caption=f"Your own metrics, means over the items with their 95 % interval. {said}",
        columns=("Run", *(metric.name for metric in metrics)),
        rows=tuple((run.label, *(metric.values[run.label] for metric in metrics)) for run in numbers.runs if metrics),
    )


def metric_groups_table(numbers: RunNumbers, breakdown: Breakdown) -> Table:
    """The same by group of items."""
    metrics = numbers.metrics
    unit = f", {breakdown.unit}" if breakdown.unit else ""
    return Table(
        name=f"metrics_by_{breakdown.name}",
        caption=f"Your own metrics by {breakdown.title}.",
        columns=(
            f"{breakdown.title[0].upper()}{breakdown.title[1:]}{unit}",
            "Run",
            *(metric.name for metric in metrics),
        ),
        rows=tuple(
            (group, run.label, *(metric.groups[breakdown.name][run.label][at] for metric in metrics))
            for at, group in enumerate(breakdown.groups)
            for run in numbers.runs
            if metrics
        ),
    )


def ratios_table(comparisons: Sequence[Comparison]) -> Table:
    """Differences that are no differences of counts."""
    return Table(
        name="ratios",
        has_section=True,
        caption="Differences in points with 95 % intervals over the items, by square-and-add of those of the two runs.",
        columns=("Pair", "Accuracy among format-valid", "Composite 0.7/0.3"),
        rows=tuple((f"{c.second.label} - {c.first.label}", c.given_format, c.composite) for c in comparisons),
    )


def arms_table(arms: Sequence[ArmRates]) -> Table:
    """What each arm has over its seeds."""
    return Table(
        name="arms",
        has_section=True,
        caption=ARMS_CAPTION,
        columns=("Arm", "Items", "Seeds", *OUTCOME_TITLES.values()),
        rows=tuple(
            (arm.label, arm.num_items, arm.num_seeds, *(_estimate(arm.rates[name]) for name in OUTCOME_TITLES))
            for arm in arms
        ),
    )


def _estimate(found: SeedEstimate) -> Estimate:
    return Estimate(found.value, found.low, found.high)


def arm_pairs_table(arms: Sequence[ArmComparison]) -> Table:
    """Arms with several seeds against the first arm."""
    return Table(
        name="arm_pairs",
        has_section=True,
        caption=ARM_PAIRS_CAPTION,
        columns=("Pair", "Rate", "Items", "Seeds", "Difference", "Shown from, points", "Finding"),
        rows=tuple(
            (
                f"{arm.second} - {arm.first}",
                OUTCOME_TITLES[name],
                arm.num_items,
                f"{arm.num_seeds[1]} and {arm.num_seeds[0]}",
                PairedEstimate(rate.difference, rate.low, rate.high),
                shown_from(rate.detectable),
                finding(rate),
            )
            for arm in arms
            for name, rate in arm.rates.items()
        ),
    )
