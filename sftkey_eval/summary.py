"""The numbers of a report, from verdicts: every proportion with its counts and interval, nothing left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_eval import stats
from sftkey_eval.verdict import ERROR_CLASSES, Verdict

PAPER_WEIGHT = 0.7
"""Weight of accuracy in the paper's composite; format has the rest."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`k` of `n` with the Wilson 95 % interval; value and interval are None where `n` is 0."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


def rate(k: int, n: int) -> Rate:
    """A proportion with its interval; of nothing, a rate without a value."""
    if n == 0:
        return Rate(k, n, None, None, None)
    interval = stats.wilson(k, n)
    return Rate(k, n, k / n, interval.low, interval.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The numbers of one run. Every rate is over all items unless its description says otherwise.

    Args:
        num_items: Scored completions.
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


def summarize(verdicts: Sequence[Verdict]) -> Summary:
    """The numbers of one run.

    Raises:
        SFTKeyError: No verdicts: the mean of nothing is not a number.
    """
    n = len(verdicts)
    if n == 0:
        raise SFTKeyError("no verdicts, so there is nothing to report")
    valid, correct = sum(v.format_valid for v in verdicts), sum(v.correct for v in verdicts)
    undecided = sum(v.format_valid and v.verdict == "undecided" for v in verdicts)
    classes = Counter(v.error_class for v in verdicts)
    codes = Counter(v.format_error for v in verdicts if v.format_error is not None)
    return Summary(
        num_items=n,
        format=rate(valid, n),
        format_tolerant=rate(sum(v.format_tolerant for v in verdicts), n),
        format_present=rate(sum(v.format_present for v in verdicts), n),
        strict=rate(correct, n),
        lenient=rate(sum(v.lenient_correct for v in verdicts), n),
        given_format=rate(correct, valid),
        undecided=undecided,
        unscored=sum(v.verdict == "unscored" for v in verdicts),
        strict_if_wrong=correct / n,
        strict_if_right=(correct + undecided) / n,
        composite=PAPER_WEIGHT * correct / n + (1 - PAPER_WEIGHT) * valid / n,
        error_classes={name: rate(classes[name], n) for name in ERROR_CLASSES},
        format_errors=dict(sorted(codes.items(), key=lambda item: (-item[1], item[0]))),
        lucky=rate(sum(v.correct and v.lucky for v in verdicts), correct),
        finish_reasons=dict(sorted(Counter(v.finish_reason or "unknown" for v in verdicts).items())),
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    """The numbers as JSON-able values, the weight curve included."""
    from dataclasses import asdict

    curve = [{"weight": w / 10, "value": summary.composite_at(w / 10)} for w in range(11)]
    return {**asdict(summary), "composite_curve": curve}
