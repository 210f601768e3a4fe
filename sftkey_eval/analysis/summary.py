"""The numbers of a report, from verdicts: every proportion with its counts and interval, nothing left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sftkey_data.arrays import Bools, Int64s
from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.item_samples import SampleRates, sample_rates
from sftkey_eval.policy import DEFAULT_POLICY, Policy
from sftkey_eval.records.outcome_columns import RunOutcomes
from sftkey_eval.records.verdicts import ERROR_CLASSES
from sftkey_eval.scoring.headroom import MendableErrors
from sftkey_eval.statistics import proportions
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.item_shares import MeasuredShare, item_share, mixture

PAPER_WEIGHT = 0.7
"""Weight of accuracy in the paper's composite; format has the rest."""


COMPOSITE_WEIGHTS = tuple(w / 10 for w in range(11))
"""Where the composite's curve is computed; weight of accuracy, format has the rest."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`k` of `n` with a 95 % interval; value and interval are None where `n` is 0.

    The interval is Wilson's; where items have several samples, for what the items are worth: samples of one item are
    not independent of each other.
    """

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


def rate(k: int, n: int) -> Rate:
    """A proportion with its interval; of nothing, a rate without a value."""
    if n == 0:
        return Rate(k, n, None, None, None)
    interval = proportions.wilson(k, n)
    return Rate(k, n, k / n, interval.low, interval.high)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The composite at one weight of accuracy, with its 95 % interval over the items."""

    weight: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The numbers of one run. Every rate is over all items unless its description says otherwise.

    Args:
        num_items: Scored completions; with several samples per item, all of them.
        format: The completion parses.
        format_tolerant: It parses but for text around the parts and loose spellings of the marks.
        format_present: Both parts are there at all.
        strict: Format valid and Key right: the accuracy.
        lenient: The best candidate is right, malformed completions included.
        given_format: Key right, over the format-valid.
        undecided: Format valid and the grader could not tell.
        unscored: The gold is empty or unusable; counted in every denominator, never correct.
        strict_if_wrong: The accuracy if every undecided Key were wrong.
        strict_if_right: The accuracy if every undecided Key were right.
        composite: Accuracy and format weighted 0.7 and 0.3.
        error_classes: Every class of `ERROR_CLASSES`; the counts add up to `num_items`.
        format_errors: Malformed completions by code, most frequent first.
        lucky: The CoT ends elsewhere, over the correct.
        finish_reasons: Completions by finish reason; `unknown` where the file does not say.
        composite_curve: The composite at the weights 0, 0.1, …, 1 of accuracy.
        samples: pass@k and the like; None where each item has one sample.
    """

    num_items: int
    format: Rate
    format_tolerant: Rate
    format_present: Rate
    strict: Rate
    lenient: Rate
    given_format: Rate
    undecided: int
    unscored: int
    strict_if_wrong: float
    strict_if_right: float
    composite: float
    error_classes: dict[str, Rate]
    format_errors: dict[str, int]
    lucky: Rate
    finish_reasons: dict[str, int]
    composite_curve: tuple[CurvePoint, ...]
    samples: SampleRates | None

    @property
    def headroom(self) -> MendableErrors:
        """What of the errors a stage 2 on the answer can mend."""
        return MendableErrors.of({name: found.k for name, found in self.error_classes.items()})

    def composite_at(self, weight: float) -> float:
        """Accuracy weighted by `weight` in [0, 1], format by the rest."""
        return weight * (self.strict.value or 0.0) + (1 - weight) * (self.format.value or 0.0)

    @property
    def headline(self) -> dict[str, Rate]:
        """The four rates that are always shown together."""
        return {name: getattr(self, name) for name in HEADLINE}


HEADLINE: dict[str, str] = {
    "format": "Format rate",
    "strict": "Strict accuracy",
    "lenient": "Lenient accuracy",
    "given_format": "Accuracy among format-valid",
}


def summarize(verdicts: RunOutcomes, policy: Policy = DEFAULT_POLICY) -> Summary:
    """The numbers of one run.

    Raises:
        SFTKeyError: No verdicts: the mean of nothing is not a number.
    """
    n = len(verdicts)
    if n == 0:
        raise SFTKeyError("no verdicts, so there is nothing to report")
    share_of = Shares(verdicts.items)
    valid, correct = verdicts.flags("format_valid"), verdicts.flags("correct")
    undecided = int(np.count_nonzero(valid & verdicts.equals("verdict", "undecided")))
    strict, form = share_of(correct), share_of(valid)
    return Summary(
        num_items=n,
        format=form,
        format_tolerant=share_of(verdicts.flags("format_tolerant")),
        format_present=share_of(verdicts.flags("format_present")),
        strict=strict,
        lenient=share_of(verdicts.flags("lenient_correct")),
        given_format=share_of(correct, among=valid),
        undecided=undecided,
        unscored=int(np.count_nonzero(verdicts.equals("verdict", "unscored"))),
        strict_if_wrong=strict.k / n,
        strict_if_right=(strict.k + undecided) / n,
        composite=(PAPER_WEIGHT * strict.k + (1 - PAPER_WEIGHT) * form.k) / n,
        error_classes={name: share_of(verdicts.equals("error_class", name)) for name in ERROR_CLASSES},
        format_errors=_most_frequent_first(verdicts.counts("format_error")),
        lucky=share_of(correct & verdicts.flags("lucky"), among=correct),
        finish_reasons=_by_name(verdicts.counts("finish_reason")),
        composite_curve=share_of.curve(correct, valid),
        samples=sample_rates(verdicts, policy),
    )


def _most_frequent_first(codes: Mapping[str, int]) -> dict[str, int]:
    known = [(code, count) for code, count in codes.items() if code]
    return dict(sorted(known, key=lambda item: (-item[1], item[0])))


def _by_name(reasons: Mapping[str, int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for reason, count in reasons.items():
        found[reason or "unknown"] += count
    return dict(sorted(found.items()))


class Shares:
    """Proportions over the completions of a run, with intervals that know which are samples of one item."""

    def __init__(self, items: Int64s) -> None:
        """Take the item of each completion, (completions,): a number, in the order of the item ids."""
        numbers, self._item = np.unique(items, return_inverse=True)
        self._num_items = len(numbers)
        self.one_each = self._num_items == len(items)
        """Whether every item has one sample."""
        self.sizes: Array = np.bincount(self._item).astype(float)
        """(items,), the number of its samples."""

    def __call__(self, flags: Bools, among: Bools | None = None) -> Rate:
        """How many of the completions that are `among` have the flag; flags elsewhere must be false."""
        k, n = int(np.count_nonzero(flags)), len(flags) if among is None else int(np.count_nonzero(among))
        if self.one_each or n == 0:
            return rate(k, n)
        interval = self.measured(flags, among).limits(proportions.QUANTILE)
        return Rate(k, n, k / n, interval.low, interval.high)

    def measured(self, flags: Bools, among: Bools | None = None) -> MeasuredShare:
        """The same, as a number whose items can be compared with another run's.

        Raises:
            SFTKeyError: Nothing is `among`.
        """
        wholes = self.sizes if among is None else self.sums(among)
        return item_share(self.sums(flags), wholes, most=int(wholes.sum()))

    def sums(self, flags: Bools) -> Array:
        """How many completions of each item have the flag, (items,), in the order of the item ids."""
        found: Array = np.bincount(self._item, weights=flags, minlength=self._num_items).astype(float)
        return found

    def curve(self, correct: Bools, valid: Bools) -> tuple[CurvePoint, ...]:
        """The composite over the weights."""
        accuracy, form = self.measured(correct), self.measured(valid)
        mixed = ((weight, mixture(weight, accuracy, form)) for weight in COMPOSITE_WEIGHTS)  # one at a time: large
        limits = [(weight, found.value, found.limits(proportions.QUANTILE)) for weight, found in mixed]
        return tuple(CurvePoint(weight, value, interval.low, interval.high) for weight, value, interval in limits)


def summary_json(summary: Summary) -> dict[str, Any]:
    """The numbers as JSON-able values."""
    return asdict(summary)
