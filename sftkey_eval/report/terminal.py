"""The headline of a report as the terminal shows it."""

from collections.abc import Mapping, Sequence

from sftkey_eval.analysis.paired_comparison import Comparison
from sftkey_eval.analysis.summary import HEADLINE, Summary
from sftkey_eval.report.printed import counts, interval, p_value, percent, points
from sftkey_eval.report.report_tables import (
    OUTCOME_TITLES,
    finding,
)

SHOWN_PAIRED = ("format", "strict")


def headline_text(summaries: Mapping[str, Summary]) -> str:
    """The headline numbers as plain text for a terminal."""
    rows = [["run", *HEADLINE.values()]]
    for label, summary in summaries.items():
        rates = summary.headline.values()
        rows.append([label, *(f"{percent(r.value)} [{interval(r.low, r.high)}] {counts(r)}" for r in rates)])
    return _columns(rows)


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
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
