"""Two runs item by item: refused unless they answered the same questions, then counted in pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sftkey_data.errors import SFTKeyError
from sftkey_eval import stats
from sftkey_eval.runs import Run
from sftkey_eval.verdict import Verdict

FORMAT_MARGIN = 0.01
"""Non-inferiority margin of the format rate, fixed beforehand: one point."""

OUTCOMES: dict[str, Callable[[Verdict], bool]] = {
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


@dataclass(frozen=True, slots=True)
class Allowed:
    """Differences between two runs that the reader asked to accept."""

    template: bool = False
    prompts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRate:
    """One outcome in pairs; `difference` is second less first, as a proportion.

    Args:
        outcome: A key of `OUTCOMES`.
        both: Items with the outcome in both runs.
        lost: With it in the first run only (b).
        gained: With it in the second run only (c).
        neither: Without it in both.
        difference: `(gained - lost) / n`.
        low: Newcombe 95 % interval of the difference, lower end.
        high: Its upper end.
        p_exact: McNemar's exact test, two-sided.
        p_mid: The mid-p version of it.
        detectable: The smallest difference found with 80 % power given this many items and discordant pairs.
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

    @property
    def num_items(self) -> int:
        """Pairs counted."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def shown(self) -> bool:
        """Whether mid-p is under 5 %."""
        return self.p_mid < 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison of `second` against `first`, with the differences that were accepted for it."""

    first: Run
    second: Run
    rates: dict[str, PairedRate]
    format_p_non_inferior: float
    accepted: tuple[str, ...]

    @property
    def format_non_inferior(self) -> bool:
        """Whether the second run's format is shown not to be more than the margin worse (one-sided, 5 %)."""
        return self.format_p_non_inferior < 0.05

    @property
    def pairs(self) -> list[tuple[Verdict, Verdict]]:
        """Both verdicts of every item, in the first run's order."""
        return pair_up(self.first, self.second)


def compare_runs(first: Run, second: Run, allowed: Allowed | None = None) -> Comparison:
    """Count two runs in pairs.

    Raises:
        SFTKeyError: Ids, golds, questions or policy differ, or templates or prompts do without being allowed.
    """
    accepted = _refuse_unlike(first, second, allowed or Allowed())
    pairs = pair_up(first, second)
    rates = {name: _paired_rate(name, pairs) for name in OUTCOMES}
    form = rates["format"]
    p = stats.noninferiority(form.both, form.lost, form.gained, form.neither, margin=FORMAT_MARGIN)
    return Comparison(first=first, second=second, rates=rates, format_p_non_inferior=p, accepted=accepted)


def pair_up(first: Run, second: Run) -> list[tuple[Verdict, Verdict]]:
    """Verdicts with the same id, in the first run's order."""
    by_id = {verdict.id: verdict for verdict in second.verdicts}
    return [(verdict, by_id[verdict.id]) for verdict in first.verdicts]


def changes(before: Verdict, now: Verdict) -> list[str]:
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


def _paired_rate(name: str, pairs: Sequence[tuple[Verdict, Verdict]]) -> PairedRate:
    outcome = OUTCOMES[name]
    cells = [(outcome(before), outcome(now)) for before, now in pairs]
    both, lost, gained, neither = (
        cells.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))
    )
    interval = stats.newcombe_paired(both, lost, gained, neither)
    return PairedRate(
        outcome=name,
        both=both,
        lost=lost,
        gained=gained,
        neither=neither,
        difference=(gained - lost) / len(cells),
        low=interval.low,
        high=interval.high,
        p_exact=stats.mcnemar_exact(lost, gained),
        p_mid=stats.mcnemar_midp(lost, gained),
        detectable=stats.minimal_detectable_effect(len(cells), lost + gained),
    )


def _refuse_unlike(first: Run, second: Run, allowed: Allowed) -> tuple[str, ...]:
    """Refuse runs that cannot be paired; returns the accepted differences in words."""
    pair = f"{first.label!r} and {second.label!r}"
    one, other = first.provenance, second.provenance
    if one["policy_digest"] != other["policy_digest"]:
        changed = sorted(key for key in one["policy"] if one["policy"].get(key) != other["policy"].get(key))
        raise SFTKeyError(f"{pair} were graded by different policies ({', '.join(changed)}); score both alike")
    _refuse_other_ids(first, second)
    accepted = []
    if one["template_digest"] != other["template_digest"]:
        names = f"{first.template.name!r} and {second.template.name!r}"
        if not allowed.template:
            raise SFTKeyError(f"{pair} were read with different templates, {names}; --allow-different-template")
        accepted.append(f"different templates: {names}")
    return (*accepted, *_refuse_other_questions(first, second, allowed))


def _refuse_other_ids(first: Run, second: Run) -> None:
    ids, others = ({verdict.id: None for verdict in run.verdicts} for run in (first, second))
    for one, other, missing in (
        (first, second, [id_ for id_ in ids if id_ not in others]),
        (second, first, [id_ for id_ in others if id_ not in ids]),
    ):
        if missing:
            raise SFTKeyError(
                f"{one.label!r} has {len(missing)} ids that {other.label!r} has not, the first is {missing[0]!r}; "
                "expected the same items"
            )


def _refuse_other_questions(first: Run, second: Run, allowed: Allowed) -> tuple[str, ...]:
    other_prompts = 0
    for one, other in pair_up(first, second):
        for what in ("gold", "answer_type", "choices"):
            a, b = getattr(one, what), getattr(other, what)
            if a != b:
                raise SFTKeyError(
                    f"{one.id}: {what} is {_short(a)} in {first.label!r} and {_short(b)} in {second.label!r}; "
                    "expected the same item"
                )
        if one.prompt != other.prompt:
            if not allowed.prompts:
                raise SFTKeyError(
                    f"{one.id}: the prompts of {first.label!r} and {second.label!r} differ; "
                    "--allow-different-prompts accepts that"
                )
            other_prompts += 1
    return (f"different prompts on {other_prompts} items",) if other_prompts else ()


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
