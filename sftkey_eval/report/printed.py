"""What a report prints: percent, counts, intervals, findings in words."""

import re

from sftkey_data.console import visible
from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.analysis.paired_comparison import FORMAT_MARGIN, Comparison, PairedRate
from sftkey_eval.analysis.summary import Rate

OUTCOME_TITLES = {"format": "Format", "strict": "Strict accuracy", "lenient": "Lenient accuracy"}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def percent(value: float | None, digits: int = 1) -> str:
    """`36.5 %`, or a dash for no value."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u202f%"


def interval(low: float | None, high: float | None) -> str:
    """`32.1 – 41.2`, in percent."""
    return "–" if low is None or high is None else f"{100 * low:.1f} – {100 * high:.1f}"


def points(value: float) -> str:
    """A difference in percentage points with its sign: `+3.2`, `−0.4`, `0.0`."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def p_value(value: float) -> str:
    """`0.032`, or `< 0.001`, with a space that does not break."""
    return "<\u202f0.001" if value < 0.001 else f"{value:.3f}"


def counts(rate: Rate) -> str:
    """`146/400`."""
    return f"{rate.k}/{rate.n}"


def finding(rate: PairedRate | ArmRate) -> str:
    """What a difference shows, in words; beside a null result, what could have been shown."""
    if rate.shown:
        return "higher" if rate.difference > 0 else "lower"
    if rate.detectable is None:
        return "nothing can be shown: an arm with one seed does not tell how much seeds differ"
    return f"no difference shown; 80 % power begins at {shown_from(rate.detectable)} points"


def shown_from(detectable: float | None) -> str:
    """The smallest difference found with 80 % power, in points, or a dash where there is none."""
    return "–" if detectable is None else f"{100 * detectable:.1f}"


def format_statement(comparison: Comparison) -> str:
    """What became of the format, in a sentence that reads forwards; whether it is kept is the non-inferiority test."""
    rate, first, second = comparison.rates["format"], comparison.first.label, comparison.second.label
    margin = f"{100 * FORMAT_MARGIN:.0f} point"
    by = f"{abs(100 * rate.difference):.1f} points"
    said = f"95 % {points(rate.low)} to {points(rate.high)}"
    if rate.shown and rate.difference > 0:
        return f"Format: better; {second} has {by} more valid completions than {first} ({said})."
    if rate.shown:
        within = f", though by less than the margin of {margin}" if comparison.format_non_inferior else ""
        return f"Format: worse{within}; {second} has {by} fewer valid completions than {first} ({said})."
    tested = f"{points(rate.difference)} points, one-sided p {p_value(comparison.format_p_non_inferior)}"
    if comparison.format_non_inferior:
        return f"Format: kept; {second} loses less than {margin} to {first} ({tested}; margin fixed beforehand)."
    return (
        f"Format: open; no change is shown, but a loss of {margin} or more from {first} to {second} is not ruled out "
        f"({tested}; margin fixed beforehand)."
    )


def printed_size(num_bytes: int) -> str:
    """`3.2 MB`, or kB under a tenth of one."""
    return f"{num_bytes / 1e6:.1f}\u202fMB" if num_bytes >= 100_000 else f"{num_bytes / 1e3:.0f}\u202fkB"


def cell(text: object) -> str:
    """Text for a Markdown table: one line, nothing in it read as markup."""
    return _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))


def visible_value(value: object) -> object:
    """What the page prints for a value: markup as it is, text with its invisible characters shown."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)
