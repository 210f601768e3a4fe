"""All numbers of a study's report, dataset by dataset; the pages print them and compute nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from sftkey_eval.analysis.paired_comparison import FORMAT_MARGIN
from sftkey_eval.statistics.arm_seeds import SeedEstimate, arm_ratio, arm_share
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.report.arm_gains import (
    ACCURACY_CLAIM,
    Finding,
    Gain,
    against,
    best_on_validation,
    control_of,
    gain,
    key_given_gold_cot,
    key_given_own_cot,
    mark_share,
    validation_purpose,
)
from sftkey_train.study.report.learning_curves import LearningCurve, Reach, claim_runs, learning_curve, steps_to_reach
from sftkey_train.study.report.study_results import ArmResults, DatasetResults, Purpose, StudyResults

CONTROL, PAPER, REJECTION = "continued", "sftkey", "rft"
Claimed = Literal["accuracy", "format"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmNumbers:
    """What an arm has on test over its claim seeds, and what a run of it cost on average; None where nothing is known.

    Args:
        name: The arm's.
        seeds: Of its finished claim runs.
        correct: Strict accuracy.
        format_valid: Format rate.
        slip: Share of items.
        key_gold_cot: Keys chosen given the gold CoT, on held-out items of validation.
        key_own_cot: Right Keys, of the items whose own CoT reaches the gold or whose Key is right.
        steps: Optimizer steps.
        supervised_tokens: Tokens that carried loss.
        flops: Of training.
        sampling_seconds: Of the model's own words that it trained on, where it did.
        training_seconds: Of the steps alone.
        other_seconds: Of generation and scoring.
    """

    name: str
    seeds: tuple[int, ...]
    correct: SeedEstimate | None
    format_valid: SeedEstimate | None
    slip: SeedEstimate | None
    key_gold_cot: SeedEstimate | None
    key_own_cot: SeedEstimate | None
    steps: float | None
    supervised_tokens: float | None
    flops: float | None
    sampling_seconds: float | None
    training_seconds: float | None
    other_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One of the paper's claims held against the results: a difference against a bound, both proportions."""

    claimed: Claimed
    bound: float
    gain: Gain
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What went wrong after stage 1: shares of its errors, and of all items, that a right Key or format would mend.

    A slip is seen where the CoT states the gold; `key_gold_cot` says also where it leaves the last step to the Key.
    """

    of_errors: SeedEstimate | None
    of_items: SeedEstimate
    correct: SeedEstimate
    slip: SeedEstimate
    malformed: SeedEstimate
    key_gold_cot: SeedEstimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnValidation:
    """An arm where choices are made: on validation, over the seeds that choices are made on."""

    name: str
    like: str
    lr: float | None
    steps: int | None
    purpose: Purpose
    correct: SeedEstimate
    gain: Gain | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetNumbers:
    """The numbers of a dataset.

    Args:
        name: The dataset's.
        num_items: Of test.
        places: Of all arms in the study, the same for all datasets.
        arms: Stage 1 first.
        control: Name of the arm that the others are held against: `continued`, or stage 1 where no such arm is.
        paper: Name of the paper's stage 2, where it is an arm.
        chosen: The arm, neither stage 1 nor the control, that is best on validation of those that keep the format: what
            it gains there.
        held_against: Of every arm but stage 1: the control, or plain training as long as the arm where there is some.
        gains: On test, by the arm compared with: accuracy and format of every other arm over the control and over
            `rft`, and of those held against plain training of another length over that.
        over_stage1: On test, accuracy of every arm over stage 1.
        claims: The paper's two, each against the control and against stage 1.
        headroom: After stage 1.
        curves: Of every arm with measurements, stage 1 not among them.
        reached: Of every arm and level.
        validation: Every arm that has a finished run on the seeds that choices are made on.
        varied: Named arms of which there are several that differ in learning rate or steps.
        missing: Runs that had nothing to train on, in words.
        same_steps: Arms with as many steps as what they are held against, by name.
    """

    name: str
    num_items: int | None
    places: Mapping[str, int]
    arms: tuple[ArmNumbers, ...]
    control: str
    paper: str | None
    chosen: Gain | None
    held_against: Mapping[str, str]
    gains: Mapping[str, tuple[Gain, ...]]
    over_stage1: tuple[Gain, ...]
    claims: tuple[Claim, ...]
    headroom: Headroom | None
    curves: tuple[LearningCurve, ...]
    reached: tuple[Reach, ...]
    validation: tuple[OnValidation, ...]
    varied: frozenset[str]
    missing: tuple[str, ...]
    same_steps: frozenset[str]

    def on_test(self, name: str, first: str | None = None) -> Gain | None:
        """What an arm gains in accuracy over another (None: what it is held against) on test."""
        of_first = self.gains.get(first or self.held_against.get(name, self.control), ())
        return next((found for found in of_first if found.second == name and found.mark == "correct"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyNumbers:
    """The numbers of a study."""

    name: str
    num_runs: int
    num_finished: int
    heldout_examples: int
    datasets: tuple[DatasetNumbers, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every run has a result, or will never have one."""
        return self.num_finished + sum(len(dataset.missing) for dataset in self.datasets) == self.num_runs


def study_numbers(results: StudyResults) -> StudyNumbers:
    """Everything that the report of a study says.

    Raises:
        SFTKeyError: Two arms of a dataset have other numbers of items.
    """
    return StudyNumbers(
        name=results.name,
        num_runs=results.num_runs,
        num_finished=results.num_finished,
        heldout_examples=results.heldout_examples,
        datasets=tuple(_dataset_numbers(results, dataset) for dataset in results.datasets),
    )


def arm_like(dataset: DatasetResults, name: str) -> ArmResults | None:
    """The arm of that name, else the first that is made of it (`like = …`); None where there is none."""
    by_like = next((arm for arm in dataset.arms.values() if arm.like == name), None)
    return dataset.arms.get(name, by_like)


def _dataset_numbers(results: StudyResults, dataset: DatasetResults) -> DatasetNumbers:
    stage1 = dataset.arms[STAGE1]
    control = arm_like(dataset, CONTROL) or stage1
    paper, rejection = arm_like(dataset, PAPER), arm_like(dataset, REJECTION)
    firsts = [control] if rejection is None or rejection is control else [control, rejection]
    others = [arm for arm in dataset.arms.values() if arm is not stage1]
    test = stage1.parts.get(("test", "claim"))
    held = {arm.name: control_of(dataset, arm, control) for arm in others}
    longer = {first.name: first for first in held.values() if first not in firsts}
    return DatasetNumbers(
        name=dataset.name,
        num_items=None if test is None else test.num_items,
        places={name: place for place, name in enumerate(results.arms)},
        arms=tuple(_arm_numbers(arm, results.heldout_examples) for arm in dataset.arms.values()),
        control=control.name,
        paper=None if paper is None else paper.name,
        chosen=best_on_validation(dataset, control),
        held_against={name: first.name for name, first in held.items()},
        gains={first.name: _gains(first, others) for first in firsts}
        | {name: _gains(first, [arm for arm in others if held[arm.name] is first]) for name, first in longer.items()},
        over_stage1=tuple(found for arm in others if (found := gain(stage1, arm))),
        claims=_claims(paper, [control] if control is stage1 else [control, stage1]),
        headroom=_headroom(stage1, results.heldout_examples),
        curves=tuple(curve for arm in others if (curve := learning_curve(arm))),
        reached=tuple(found for arm in others for found in steps_to_reach(arm)),
        validation=_on_validation(dataset, control),
        varied=_varied(dataset),
        missing=tuple(
            f"{arm.name}, seed {one.seed}, was not trained: {one.why}"
            for arm in dataset.arms.values()
            for one in arm.missing
        ),
        same_steps=frozenset(arm.name for arm in others if arm.num_steps == held[arm.name].num_steps),
    )


def _arm_numbers(arm: ArmResults, heldout_examples: int) -> ArmNumbers:
    runs = claim_runs(arm)
    return ArmNumbers(
        name=arm.name,
        seeds=tuple(run.seed for run in runs),
        correct=mark_share(arm, "correct"),
        format_valid=mark_share(arm, "format_valid"),
        slip=mark_share(arm, "slip"),
        key_gold_cot=key_given_gold_cot(arm, heldout_examples),
        key_own_cot=key_given_own_cot(arm),
        steps=_mean([run.steps for run in runs]),
        supervised_tokens=_mean([run.supervised_tokens for run in runs]),
        flops=_mean([run.flops for run in runs]),
        sampling_seconds=_mean([run.seconds.get("sampling") for run in runs]),
        training_seconds=_mean([run.seconds.get("training") for run in runs]),
        other_seconds=_mean([_sum(run.seconds.get("generation"), run.seconds.get("scoring")) for run in runs]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _gains(first: ArmResults, others: Sequence[ArmResults]) -> tuple[Gain, ...]:
    marks: tuple[Literal["correct", "format_valid"], ...] = ("correct", "format_valid")
    return tuple(found for arm in others if arm is not first for mark in marks if (found := gain(first, arm, mark)))


def _claims(paper: ArmResults | None, firsts: Sequence[ArmResults]) -> tuple[Claim, ...]:
    if paper is None:
        return ()
    wanted: tuple[tuple[Claimed, Literal["correct", "format_valid"], float], ...] = (
        ("accuracy", "correct", ACCURACY_CLAIM),
        ("format", "format_valid", -FORMAT_MARGIN),
    )
    return tuple(
        Claim(claimed=claimed, bound=bound, gain=found, finding=against(found.rate, bound))
        for claimed, mark, bound in wanted
        for first in firsts
        if first is not paper and (found := gain(first, paper, mark))
    )


def _headroom(stage1: ArmResults, heldout_examples: int) -> Headroom | None:
    test = stage1.parts.get(("test", "claim"))
    if test is None:
        return None
    correct, slip = test.marks["correct"].T, test.marks["slip"].T
    malformed = test.marks["lenient_correct"].T & ~test.marks["format_valid"].T
    mendable = (slip | malformed) & ~correct
    return Headroom(
        of_errors=arm_ratio(mendable.astype(np.float64), (~correct).astype(np.float64)),
        of_items=arm_share(mendable.astype(np.float64)),
        correct=arm_share(correct.astype(np.float64)),
        slip=arm_share(slip.astype(np.float64)),
        malformed=arm_share(malformed.astype(np.float64)),
        key_gold_cot=key_given_gold_cot(stage1, heldout_examples),
    )


def _on_validation(dataset: DatasetResults, control: ArmResults) -> tuple[OnValidation, ...]:
    purpose = validation_purpose(dataset, control)
    return tuple(
        OnValidation(
            name=arm.name,
            like=arm.like,
            lr=arm.lr,
            steps=arm.num_steps,
            purpose=purpose,
            correct=correct,
            gain=None
            if arm is control
            else gain(control_of(dataset, arm, control), arm, "correct", "validation", purpose),
        )
        for arm in dataset.arms.values()
        if (correct := mark_share(arm, "correct", "validation", purpose))
    )


def _varied(dataset: DatasetResults) -> frozenset[str]:
    found: dict[str, set[tuple[float | None, int | None]]] = {}
    for arm in dataset.arms.values():
        if arm.runs:
            found.setdefault(arm.like, set()).add((arm.lr, arm.num_steps))
    return frozenset(like for like, settings in found.items() if len(settings) > 1)
