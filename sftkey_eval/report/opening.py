"""What a report says first: one sentence that needs no knowledge of statistics, with its numbers."""

from collections.abc import Mapping, Sequence

from sftkey_eval.analysis.arms import ArmComparison, ArmRate, ArmRates
from sftkey_eval.analysis.paired_comparison import Comparison, PairedRate
from sftkey_eval.analysis.summary import Summary
from sftkey_eval.report.printed import percent, points

_COMMONEST = {
    "format": "right answers in a broken format",
    "slip": "slips: the reasoning arrives and the answer does not follow it",
    "wrong_cot": "wrong reasoning",
    "no_answer": "completions without an answer",
    "undecided": "answers that the grader could not judge",
    "unscored": "questions without a usable gold",
}


def opening(
    summaries: Mapping[str, Summary],
    comparisons: Sequence[Comparison],
    arm_rates: Sequence[ArmRates] = (),
    arms: Sequence[ArmComparison] = (),
) -> str:
    """The sentence of a report, from what it knows: arms over their seeds before runs, pairs before single runs."""
    if len(arm_rates) == 1:
        return _one_arm(arm_rates[0])
    if arm_rates and arms:
        shares = {arm.label: arm.rates["strict"].value for arm in arm_rates}
        pairs = [(arm.second, arm.rates["strict"]) for arm in arms]
        return _compared(shares, pairs, f"{arm_rates[0].num_items:,} questions", "arms")
    if len(summaries) == 1:
        ((label, summary),) = summaries.items()
        return _one_run(label, summary)
    shares = {label: summary.strict.value or 0.0 for label, summary in summaries.items()}
    if len(comparisons) < len(summaries) - 1:
        each = ", ".join(f"{label} gets {percent(share)} right" for label, share in shares.items())
        return f"The {len(summaries)} runs cannot all be compared, so none is called the best: {each}."
    summary = next(iter(summaries.values()))
    asked = f"{summary.num_items:,} {_noun(summary)}"
    return _compared(shares, [(c.second.label, c.rates["strict"]) for c in comparisons], asked, "runs")


def _noun(summary: Summary) -> str:
    return "questions" if summary.samples is None else "answers"


def _one_run(label: str, summary: Summary) -> str:
    strict = summary.strict
    right = (
        f"{label} gets {strict.k:,} of {strict.n:,} {_noun(summary)} right, in the format asked for "
        f"({percent(strict.value)}{_span(strict.low, strict.high)})"
    )
    errors = {name: rate.k for name, rate in summary.error_classes.items() if name in _COMMONEST and rate.k}
    if not errors:
        return f"{right}."
    commonest, num_errors = max(errors, key=lambda name: errors[name]), sum(errors.values())
    most = (
        f"most of its {num_errors:,} errors are" if 2 * errors[commonest] > num_errors else "its commonest errors are"
    )
    return f"{right}; {most} {_COMMONEST[commonest]}."


def _one_arm(arm: ArmRates) -> str:
    strict = arm.rates["strict"]
    return (
        f"Over {arm.num_seeds} seeds, {arm.label} gets {percent(strict.value)} of {arm.num_items:,} questions right, "
        f"in the format asked for{_span(strict.low, strict.high)}."
    )


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f", 95 % {100 * low:.1f} to {100 * high:.1f}"


def _compared(
    shares: Mapping[str, float], pairs: Sequence[tuple[str, PairedRate | ArmRate]], asked: str, what: str
) -> str:
    first = next(iter(shares))
    if len(pairs) == 1:
        ((second, rate),) = pairs
        right = f"{second} gets {percent(shares[second])} of {asked} right"
        return f"{right}, {first} {percent(shares[first])}: {_said(rate)}."
    best = max(shares, key=lambda label: shares[label])
    better = [label for label, rate in pairs if rate.shown and rate.difference > 0]
    worse = [label for label, rate in pairs if rate.shown and rate.difference < 0]
    return (
        f"Of {len(shares)} {what}, {best} gets most right ({percent(shares[best])} of {asked}); "
        f"against {first}, {_shown(better, worse)}."
    )


def _said(rate: PairedRate | ArmRate) -> str:
    """The difference in words that read forwards."""
    if rate.low is None or rate.high is None:
        return f"{points(rate.difference)} points, and with one seed nothing tells how much of it is chance"
    span = f"95 % {points(rate.low)} to {points(rate.high)}"
    if not rate.shown:
        return f"a difference that chance may explain ({points(rate.difference)} points, {span})"
    gain = "a gain" if rate.difference > 0 else "a loss"
    return f"{gain} of {abs(100 * rate.difference):.1f} points that chance does not explain ({span})"


def _shown(better: Sequence[str], worse: Sequence[str]) -> str:
    said = [
        f"{_listed(labels)} shown to be {what}" for labels, what in ((better, "better"), (worse, "worse")) if labels
    ]
    return " and ".join(said) or "no other is shown to be better or worse"


def _listed(labels: Sequence[str]) -> str:
    *others, last = labels
    return f"{', '.join(others)} and {last} are" if others else f"{last} is"
