"""Several samples of one item: how often one of k is right, and how often the majority is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import comb
from operator import attrgetter

import numpy as np

from sftkey_data.errors import SFTKeyError
from sftkey_eval.kinds.grade import grade
from sftkey_eval.policy import DEFAULT_POLICY, Policy
from sftkey_eval.records.outcome_columns import RunOutcomes, in_file_order
from sftkey_eval.records.verdicts import Outcome
from sftkey_eval.statistics.item_means import Estimate
from sftkey_eval.statistics.item_shares import item_share
from sftkey_eval.statistics.proportions import QUANTILE


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRates:
    """What several samples per item add to a report.

    Args:
        num_items: Items.
        num_samples: Samples of the item with fewest; no k is larger.
        pass_at: By k, the chance that one of k samples is correct, mean over the items.
        majority: The majority of all of an item's samples is correct.
    """

    num_items: int
    num_samples: int
    pass_at: dict[int, Estimate]
    majority: Estimate


def by_item(verdicts: RunOutcomes) -> Iterator[list[Outcome]]:
    """The samples of each item, in the order of their numbers; items in the order of the file."""
    order = in_file_order(verdicts.items)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = np.lexsort((verdicts.column("sample").to_numpy(), place[verdicts.items]))
    return (list(samples) for _, samples in groupby(verdicts.at(rows), key=attrgetter("item_id")))


def sample_rates(verdicts: RunOutcomes, policy: Policy = DEFAULT_POLICY) -> SampleRates | None:
    """pass@k for k = 1, 2, 4, … and the number of samples, and maj@n; None where no item has two samples.

    Raises:
        SFTKeyError: No verdicts.
    """
    if not len(verdicts):
        raise SFTKeyError("no verdicts, so there is nothing to report")
    order = in_file_order(verdicts.items)
    if len(order) == len(verdicts):
        return None
    of_item = np.bincount(verdicts.items)[order]
    correct = np.bincount(verdicts.items[verdicts.flags("correct")], minlength=len(order))[order]
    num_samples = int(of_item.min())
    # Of 6 samples: 1, 2, 4 and 6.
    sizes = sorted({num_samples} | {2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples})
    counts = list(zip(of_item.tolist(), correct.tolist(), strict=True))
    return SampleRates(
        num_items=len(order),
        num_samples=num_samples,
        pass_at={k: _over_items(pass_at_k(n, c, k) for n, c in counts) for k in sizes},
        majority=_over_items(float(majority_is_correct(samples, policy)) for samples in by_item(verdicts)),
    )


def _over_items(of_items: Iterable[float]) -> Estimate:
    shares = np.fromiter(of_items, float)
    mean = item_share(shares, np.ones(len(shares)))
    interval = mean.limits(QUANTILE)
    return Estimate(mean.value, interval.low, interval.high)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of `k` samples is correct: `1 - C(n - c, k) / C(n, k)`.

    Source: Chen et al., arXiv 2107.03374, equation 1. Worked: of 4 samples 1 is right: pass@1 1/4, pass@2 1/2.

    Raises:
        SFTKeyError: `k` is not in [1, num_samples], or `num_correct` not in [0, num_samples].
    """
    if not (1 <= k <= num_samples and 0 <= num_correct <= num_samples):
        raise SFTKeyError(f"pass@{k} of {num_samples} samples, {num_correct} of them correct: expected 1 <= k <= n")
    return 1 - comb(num_samples - num_correct, k) / comb(num_samples, k)


def majority_is_correct(samples: Sequence[Outcome], policy: Policy = DEFAULT_POLICY) -> bool:
    """Whether the answer that most samples of an item give is correct.

    Keys are one answer where the grader says so; a malformed completion has no vote. Of answers with as many votes, the
    one that came first wins. Without any vote the item is wrong.
    """
    answers: list[list[Outcome]] = []
    for sample in samples:
        if sample.format_valid:
            same = next((group for group in answers if _same(group[0], sample, policy)), None)
            if same is None:
                answers.append([sample])
            else:
                same.append(sample)
    return bool(answers) and max(answers, key=len)[0].correct


def _same(one: Outcome, other: Outcome, policy: Policy) -> bool:
    if one.predicted == other.predicted:
        return True
    return (
        grade(one.predicted, other.predicted, one.answer_type, choices=one.choices, policy=policy).verdict == "correct"
    )
