"""A report as the terminal shows it: arms first, then runs."""

from collections.abc import Mapping, Sequence

from sftkey_data.console import visible
from sftkey_eval.analysis.arms import ArmComparison, ArmRates
from sftkey_eval.analysis.paired_comparison import Comparison
from sftkey_eval.analysis.summary import HEADLINE, Summary
from sftkey_eval.report.printed import OUTCOME_TITLES, counts, finding, interval, p_value, percent, points, shown_from
from sftkey_eval.report.report import Report

SHOWN_PAIRED = ("format", "strict")


def report_text(made: Report) -> str:
    """What was found; arms, then their seeds, or runs, then their differences; and what could not be paired."""
    parts = [aligned([[made.found]])]
    parts += [arms_text(made.arm_rates)] if made.arm_rates else []
    parts += [arm_pairs_text(made.arms)] if made.arms else []
    parts += [f"seed by seed\n{headline_text(made.summaries)}" if made.arm_rates else headline_text(made.summaries)]
    parts += [paired_text(made.comparisons)] if made.comparisons and not made.arm_rates else []
    parts += [f"Not paired: {reason}." for reason in made.not_paired]
    if len(made.summaries) == 1:
        parts += [summary.headroom.line() for summary in made.summaries.values()]
    return "\n\n".join(parts)


def arms_text(arms: Sequence[ArmRates]) -> str:
    """What each arm has over its seeds, as plain text for a terminal."""
    rows = [["arm", "seeds", *OUTCOME_TITLES.values()]]
    for arm in arms:
        rates = [arm.rates[name] for name in OUTCOME_TITLES]
        shown = (percent(r.value) + ("" if r.low is None else f" [{interval(r.low, r.high)}]") for r in rates)
        rows.append([arm.label, str(arm.num_seeds), *shown])
    return aligned(rows)


def arm_pairs_text(arms: Sequence[ArmComparison]) -> str:
    """The arms against the first as plain text for a terminal."""
    rows = [["arms", "rate", "difference, points", "shown from", "finding"]]
    for arm in arms:
        for name in SHOWN_PAIRED:
            rate = arm.rates[name]
            span = points(rate.difference)
            if rate.low is not None and rate.high is not None:
                span += f" [{points(rate.low)}, {points(rate.high)}]"
            pair = f"{arm.second} - {arm.first}"
            rows.append([pair, OUTCOME_TITLES[name], span, shown_from(rate.detectable), finding(rate)])
    return aligned(rows)


def headline_text(summaries: Mapping[str, Summary]) -> str:
    """The headline numbers as plain text for a terminal."""
    rows = [["run", *HEADLINE.values()]]
    for label, summary in summaries.items():
        rates = summary.headline.values()
        rows.append([label, *(f"{percent(r.value)} [{interval(r.low, r.high)}] {counts(r)}" for r in rates)])
    return aligned(rows)


def paired_text(comparisons: Sequence[Comparison]) -> str:
    """The paired differences as plain text for a terminal."""
    rows = [["paired", "rate", "difference, points", "lost", "gained", "mid-p", "finding"]]
    for comparison in comparisons:
        against = f"{comparison.second.label} - {comparison.first.label}"
        for name in SHOWN_PAIRED:
            rate = comparison.rates[name]
            span = f"{points(rate.difference)} [{points(rate.low)}, {points(rate.high)}]"
            numbers = [str(rate.lost), str(rate.gained), p_value(rate.p_mid), finding(rate)]
            rows.append([against, OUTCOME_TITLES[name], span, *numbers])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as lines of plain text, every column as wide as its widest cell; a cell is one line."""
    rows = [[" ".join(visible(text).splitlines()) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
