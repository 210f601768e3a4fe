"""Two runs item by item, counted in pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.comparability import pair_up, refuse_unlike
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import COMPOSITE_WEIGHTS, PAPER_WEIGHT, Shares
from sftkey_eval.records.verdicts import Outcome
from sftkey_eval.statistics import proportions
from sftkey_eval.statistics.item_shares import MeasuredShare, difference, mixture
from sftkey_eval.statistics.sign_flip import sign_flip

FORMAT_MARGIN = 0.01
"""Non-inferiority margin of the format rate, fixed beforehand: one point."""

Pairs = Sequence[tuple[Outcome, Outcome]]

PAIRED_OUTCOMES: dict[str, Callable[[Outcome], bool]] = {
    "format": lambda verdict: verdict.format_valid,
    "strict": lambda verdict: verdict.correct,
    "lenient": lambda verdict: verdict.lenient_correct,
}

CHANGES = {
    "fixed": "fixed",
    "broken": "broken",
    "format_gained": "format gained",
    "format_lost": "format lost",
    "both_right": "right in both",
    "both_wrong": "wrong in both",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRate:
    """One outcome in pairs; `difference` is second less first, as a proportion.

    Args:
        outcome: A key of `PAIRED_OUTCOMES`.
        both: Items with the outcome in both runs.
        lost: With it in the first run only (b).
        gained: With it in the second run only (c).
        neither: Without it in both.
        difference: `(gained - lost) / n`.
        low: Lower end of its 95 % interval by Newcombe; with item means, for what the items are worth.
        high: Upper end.
        p_exact: Two-sided p of McNemar's exact test; with item means, of the exact test of their signs.
        p_mid: The mid-p version of it.
        detectable: The smallest difference found with 80 % power given this many items and discordant pairs.
        test: `item_means` where an item has several samples: each item counts once, by its mean. Else `mcnemar`.
        p_non_inferior: One-sided p of "worse by the format's margin or more".
    """

    outcome: str
    both: int
    lost: int
    gained: int
    neither: int
    difference: float
    low: float
    high: float
    p_exact: float
    p_mid: float
    detectable: float
    test: Literal["mcnemar", "item_means"]
    p_non_inferior: float

    @property
    def num_items(self) -> int:
        """Pairs counted; of items with several samples, all pairs of samples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def shown(self) -> bool:
        """Whether mid-p is under 5 %."""
        return self.p_mid < 0.05


@dataclass(frozen=True, slots=True)
class PairedEstimate:
    """A difference that is no difference of counts, with its 95 % interval over the items.

    All are None where one of the runs has no such number: no completion with a valid format.
    """

    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison of `second` against `first`; all differences are second less first.

    Args:
        first: The run compared with.
        second: The run that is compared.
        rates: By outcome, a key of `PAIRED_OUTCOMES`.
        given_format: Difference of the accuracy among format-valid.
        composite: Difference of the paper's composite.
        composite_curve: Difference of the composite, by weight of accuracy.
        accepted: Differences in template or prompts that were allowed, in words.
    """

    first: Run
    second: Run
    rates: dict[str, PairedRate]
    given_format: PairedEstimate
    composite: PairedEstimate
    composite_curve: dict[float, PairedEstimate]
    accepted: tuple[str, ...]

    @property
    def format_p_non_inferior(self) -> float:
        """One-sided p of "the second run's format is worse by the margin or more"."""
        return self.rates["format"].p_non_inferior

    @property
    def format_non_inferior(self) -> bool:
        """Whether the second run's format is shown not to be more than the margin worse (one-sided, 5 %)."""
        return self.format_p_non_inferior < 0.05

    @property
    def pairs(self) -> list[tuple[Outcome, Outcome]]:
        """Both verdicts of every item, in the first run's order."""
        return pair_up(self.first, self.second)


def compare_runs(first: Run, second: Run, allowed: Allowed | None = None) -> Comparison:
    """Count two runs in pairs.

    Raises:
        SFTKeyError: Ids, golds, questions or policy differ, or templates or prompts do without being allowed.
    """
    accepted = refuse_unlike(first, second, allowed or Allowed())
    pairs = pair_up(first, second)
    shares = Shares([before for before, _ in pairs]), Shares([now for _, now in pairs])
    weights = (PAPER_WEIGHT, *COMPOSITE_WEIGHTS)
    given_format, composite, *curve = _estimates(pairs, *shares, weights)
    return Comparison(
        first=first,
        second=second,
        rates={name: _paired_rate(name, pairs, *shares) for name in PAIRED_OUTCOMES},
        given_format=given_format,
        composite=composite,
        composite_curve=dict(zip(COMPOSITE_WEIGHTS, curve, strict=True)),
        accepted=accepted,
    )


def changes(before: Outcome, now: Outcome) -> list[str]:
    """What became of an item, as keys of `CHANGES`."""
    answer = {
        (False, True): "fixed",
        (True, False): "broken",
        (True, True): "both_right",
        (False, False): "both_wrong",
    }[(before.correct, now.correct)]
    if before.format_valid == now.format_valid:
        return [answer]
    return [answer, "format_gained" if now.format_valid else "format_lost"]


def _paired_rate(name: str, pairs: Pairs, before: Shares, now: Shares) -> PairedRate:
    outcome = PAIRED_OUTCOMES[name]
    cells = [(outcome(one), outcome(other)) for one, other in pairs]
    both, lost, gained, neither = (
        cells.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))
    )
    numbers = _of_table((both, lost, gained, neither)) if before.one_each else _of_items(cells, before, now)
    return PairedRate(outcome=name, both=both, lost=lost, gained=gained, neither=neither, **numbers)


def _of_table(table: tuple[int, int, int, int]) -> dict[str, Any]:
    _, lost, gained, _ = table
    interval = proportions.newcombe_paired(*table)
    return {
        "difference": (gained - lost) / sum(table),
        "low": interval.low,
        "high": interval.high,
        "p_exact": proportions.mcnemar_exact(lost, gained),
        "p_mid": proportions.mcnemar_midp(lost, gained),
        "detectable": proportions.minimal_detectable_effect(sum(table), lost + gained),
        "test": "mcnemar",
        "p_non_inferior": proportions.noninferiority(*table, margin=FORMAT_MARGIN),
    }


def _of_items(cells: Sequence[tuple[bool, bool]], before: Shares, now: Shares) -> dict[str, Any]:
    """By the share of each item's samples; where every item's samples agree, the same as one sample of each."""
    first, second = before.measured([one for one, _ in cells]), now.measured([other for _, other in cells])
    limits = difference(first, second)
    interval, change = limits(proportions.QUANTILE), second.value - first.value
    p = sign_flip((now.sums([other for _, other in cells]) - before.sums([one for one, _ in cells])) / before.sizes)
    return {
        "difference": change,
        "low": interval.low,
        "high": interval.high,
        "p_exact": p.exact,
        "p_mid": p.mid,
        "detectable": proportions.detectable_by_interval(interval),
        "test": "item_means",
        "p_non_inferior": proportions.p_worse(change, limits, margin=FORMAT_MARGIN),
    }


def _estimates(pairs: Pairs, before: Shares, now: Shares, weights: Sequence[float]) -> list[PairedEstimate]:
    """Differences of the accuracy among format-valid, then of the composite at each weight."""
    runs = [(before, [one for one, _ in pairs]), (now, [other for _, other in pairs])]
    flags = [(share_of, [v.correct for v in run], [v.format_valid for v in run]) for share_of, run in runs]
    nobody_valid = any(not any(valid) for _, _, valid in flags)
    among_valid = [] if nobody_valid else [share_of.measured(correct, valid) for share_of, correct, valid in flags]
    given_format = _estimate(*among_valid) if among_valid else PairedEstimate(None, None, None)
    parts = [(share_of.measured(correct), share_of.measured(valid)) for share_of, correct, valid in flags]
    composites = [_estimate(*(mixture(weight, *rates) for rates in parts)) for weight in weights]
    return [given_format, *composites]


def _estimate(first: MeasuredShare, second: MeasuredShare) -> PairedEstimate:
    interval = difference(first, second)(proportions.QUANTILE)
    return PairedEstimate(second.value - first.value, interval.low, interval.high)
