"""The exposure gap: what a model gives the gold Key behind its own CoT, less what it gives it behind the gold CoT."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.sealed_json import read_sealed_lines
from sftkey_eval.statistics.item_means import Array, Estimate, mean_of_items
from sftkey_eval.statistics.item_shares import difference, item_share
from sftkey_eval.statistics.proportions import QUANTILE

FORCED_FILE = "teacher_forced.jsonl"
_MEND = "delete it, and --teacher-forced measures it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """A line of `teacher_forced.jsonl`: one completion. What has no value has a code in the fault beside it.

    Args:
        id: Of the completion.
        item_id: Of its item.
        sample: Its number among the item's.
        key_tokens: Tokens that touch the gold Key behind the gold CoT.
        nll_gold_cot: Negative log likelihood of them together, in nats.
        exact_gold_cot: Each is the likeliest token, given those before it.
        gold_cot_fault: Why there are no such numbers.
        own_key_tokens: As above, behind the model's own CoT; the number can differ where a token straddles the border.
        nll_own_cot: As above.
        exact_own_cot: As above.
        own_cot_fault: A malformed code where no CoT can be cut, `too_long` or `unscored`.
    """

    id: str
    item_id: str
    sample: int
    key_tokens: int | None
    nll_gold_cot: float | None
    exact_gold_cot: bool | None
    gold_cot_fault: str | None
    own_key_tokens: int | None
    nll_own_cot: float | None
    exact_own_cot: bool | None
    own_cot_fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMeans:
    """Means over items, each the mean of its samples, or differences of such means, with 95 % intervals.

    Args:
        num_items: Items; where there are none, nothing has a value.
        nll: Of a Key, in nats.
        nll_per_token: The same by the number of its tokens.
        exact: Share of Keys of which each token is the likeliest one.
    """

    num_items: int
    nll: Estimate | None
    nll_per_token: Estimate | None
    exact: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """The teacher-forced Key of one run.

    Args:
        num_items: Items.
        num_rows: Completions.
        gold_cot: Given the gold CoT, all items that have it.
        own_cot: Given the model's own CoT, all items that have it.
        both_gold_cot: Given the gold CoT, items that have both.
        both_own_cot: Given the model's own CoT, items that have both.
        difference: Own less gold, items that have both.
        left_out_gold_cot: Completions without numbers given the gold CoT, by code.
        left_out_own_cot: Completions without numbers given their own CoT, by code.
    """

    num_items: int
    num_rows: int
    gold_cot: KeyMeans
    own_cot: KeyMeans
    both_gold_cot: KeyMeans
    both_own_cot: KeyMeans
    difference: KeyMeans
    left_out_gold_cot: dict[str, int]
    left_out_own_cot: dict[str, int]

    def line(self) -> str:
        """The two numbers and their gap, in one line."""
        left = ", ".join(f"{code} {count}" for code, count in self.left_out_own_cot.items())
        note = f"{self.difference.num_items} of {self.num_items} items" + (f"; without own CoT: {left}" if left else "")
        gold, own, gap = self.both_gold_cot, self.both_own_cot, self.difference
        if not (gold.nll and own.nll and gap.nll and gold.exact and own.exact and gap.exact):
            return f"teacher-forced Key: nothing to compare ({note})"
        return (
            f"teacher-forced Key: NLL {gold.nll.value:.3f} given the gold CoT, {own.nll.value:.3f} given its own, "
            f"gap {_signed(gap.nll, '.3f')}; exact match {gold.exact.value:.1%} and {own.exact.value:.1%}, "
            f"gap {_signed(gap.exact, '.1%')} ({note})"
        )


def teacher_forced_summary(run_folder: Path) -> Exposure | None:
    """The exposure gap of a run, from its `teacher_forced.jsonl`; None where that file is not there.

    Raises:
        SFTKeyError: The file is not what `sftkey-eval run --teacher-forced` writes.
    """
    path = run_folder / FORCED_FILE
    return summarize_exposure(read_key_lines(path)) if path.exists() else None


def read_key_lines(path: Path) -> list[KeyLine]:
    """The lines of a `teacher_forced.jsonl`.

    Raises:
        SFTKeyError: A line that is none, or not as it was written, or no lines.
    """
    lines = []
    for number, row in enumerate(read_sealed_lines(path, _MEND), start=1):
        try:
            lines.append(KeyLine(**row))
        except TypeError:
            expected = ", ".join(field.name for field in fields(KeyLine))
            raise SFTKeyError(f"{path} line {number}: expected a JSON object with {expected}") from None
    if not lines:
        raise SFTKeyError(f"{path}: no lines")
    return lines


def summarize_exposure(lines: Sequence[KeyLine]) -> Exposure:
    """The exposure gap over the items of some lines; each item counts once, however many samples it has."""
    items: dict[str, list[KeyLine]] = {}
    for line in lines:
        items.setdefault(line.item_id, []).append(line)
    gold = {id_: _mean(samples, _gold_numbers) for id_, samples in items.items()}
    own = {id_: _mean(samples, _own_numbers) for id_, samples in items.items()}
    pairs = [(g, o) for id_, g in gold.items() if g is not None and (o := own[id_]) is not None]
    # (n, 3) each, also with n = 0.
    first, second = (np.array([pair[side] for pair in pairs]).reshape(-1, 3) for side in (0, 1))
    return Exposure(
        num_items=len(items),
        num_rows=len(lines),
        gold_cot=_means(np.array([g for g in gold.values() if g is not None])),
        own_cot=_means(np.array([o for o in own.values() if o is not None])),
        both_gold_cot=_means(first),
        both_own_cot=_means(second),
        difference=_differences(first, second),
        left_out_gold_cot=_codes(line.gold_cot_fault for line in lines),
        left_out_own_cot=_codes(line.own_cot_fault for line in lines),
    )


def _gold_numbers(line: KeyLine) -> tuple[float, float, float] | None:
    return _numbers(line.key_tokens, line.nll_gold_cot, line.exact_gold_cot)


def _own_numbers(line: KeyLine) -> tuple[float, float, float] | None:
    return _numbers(line.own_key_tokens, line.nll_own_cot, line.exact_own_cot)


def _numbers(tokens: int | None, nll: float | None, exact: bool | None) -> tuple[float, float, float] | None:
    return None if tokens is None or nll is None or exact is None else (nll, nll / tokens, float(exact))


def _mean(samples: Sequence[KeyLine], numbers: Callable[[KeyLine], tuple[float, float, float] | None]) -> Array | None:
    """Mean over the samples that have numbers, shape (3,): NLL, NLL per token, exact match."""
    found = [values for line in samples if (values := numbers(line)) is not None]
    return np.array(found).mean(axis=0) if found else None


def _means(items: Array) -> KeyMeans:
    """Means with intervals of items (n, 3), columns as `_mean`."""
    if len(items) == 0:
        return KeyMeans(num_items=0, nll=None, nll_per_token=None, exact=None)
    nll, per_token, exact = items.T
    interval = item_share(exact, np.ones(len(exact))).limits(QUANTILE)
    exact_share = Estimate(float(exact.mean()), interval.low, interval.high)
    means = [mean_of_items(column, bounds=(0.0, np.inf)) for column in (nll, per_token)]
    return KeyMeans(num_items=len(items), nll=means[0], nll_per_token=means[1], exact=exact_share)


def _differences(first: Array, second: Array) -> KeyMeans:
    """Second less first of the same items, both (n, 3)."""
    if len(first) == 0:
        return _means(first)
    nll, per_token, exact = (second - first).T
    before, now = (item_share(side[:, 2], np.ones(len(side))) for side in (first, second))
    interval = difference(before, now)(QUANTILE)
    gap = Estimate(float(exact.mean()), interval.low, interval.high)
    return KeyMeans(num_items=len(first), nll=mean_of_items(nll), nll_per_token=mean_of_items(per_token), exact=gap)


def _codes(faults: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(fault for fault in faults if fault is not None).items()))


def _signed(gap: Estimate, form: str) -> str:
    value = format(gap.value, f"+{form}")
    if gap.low is None or gap.high is None:
        return value
    return f"{value} [{format(gap.low, f'+{form}')}, {format(gap.high, f'+{form}')}]"
