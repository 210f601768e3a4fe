"""What an arm of a study has, and what it gains over another: over seeds and items, paired by both.

Selection and report use the same. Every choice between arms is made on validation (`validation_gains`), so that the
interval on test is that of an arm which its test items had no part in choosing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.analysis.paired_comparison import FORMAT_MARGIN
from sftkey_eval.statistics.arm_seeds import (
    SeedEstimate,
    arm_ratio,
    arm_share,
    counted_share,
    paired_arm_difference,
)
from sftkey_eval.statistics.item_means import Array
from sftkey_eval.statistics.proportions import CONFIDENCE
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.report.study_results import ArmResults, DatasetResults, ItemMark, Marked, Purpose
from sftkey_train.study.study_file import Part

ACCURACY_CLAIM = 0.05
"""What the paper claims that its second stage adds to accuracy: more than 5 points."""
Finding = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the second arm has more than the first, over the seeds that both have finished.

    Args:
        first: Name of the arm compared with.
        second: Name of the arm that is compared.
        mark: Of which share.
        part: On which items.
        purpose: Of the seeds.
        seeds: Which ones; the same numbers of both arms.
        num_items: Items.
        rate: The difference, with its 95 % interval over seeds and items where there are several seeds, see
            `paired_arm_difference`.
    """

    first: str
    second: str
    mark: ItemMark
    part: Part
    purpose: Purpose
    seeds: tuple[int, ...]
    num_items: int
    rate: ArmRate


def gain(
    first: ArmResults,
    second: ArmResults,
    mark: ItemMark = "correct",
    part: Part = "test",
    purpose: Purpose = "claim",
    confidence: float = CONFIDENCE,
) -> Gain | None:
    """Second less first, `confidence` that of the interval; None where no seed of both is finished.

    Raises:
        SFTKeyError: They have other numbers of items.
    """
    before, now = first.parts.get((part, purpose)), second.parts.get((part, purpose))
    seeds = tuple(sorted(set(before.seeds) & set(now.seeds))) if before and now else ()
    if before is None or now is None or not seeds:
        return None
    if before.num_items != now.num_items:
        raise SFTKeyError(
            f"{second.name} has {now.num_items} items of {part}, {first.name} {before.num_items}: they cannot be paired"
        )
    of_first, of_second = (_by_item(of.marks[mark][[of.seeds.index(seed) for seed in seeds]]) for of in (before, now))
    found = paired_arm_difference(of_first, of_second, confidence)
    return Gain(
        first=first.name,
        second=second.name,
        mark=mark,
        part=part,
        purpose=purpose,
        seeds=seeds,
        num_items=now.num_items,
        rate=ArmRate(difference=found.value, low=found.low, high=found.high, detectable=found.detectable),
    )


def against(rate: ArmRate, bound: float) -> Finding:
    """Whether a difference is shown to be more than a bound, shown to be no more, or neither, by its 95 % interval.

    Each answer by itself has a chance of error of 2.5 %. Format is preserved where the difference `holds` against the
    margin with a minus. Undecided without an interval.
    """
    if rate.low is None or rate.high is None:
        return "undecided"
    if rate.low > bound:
        return "holds"
    return "fails" if rate.high <= bound else "undecided"


def validation_purpose(dataset: DatasetResults, control: ArmResults) -> Purpose:
    """Which seeds choices are made on: those for tuning, where every arm has one of them in common with the control.

    Left out are an arm that had nothing to train on under a tuning seed, as it will never have one, and an arm without
    any result yet, which cannot be chosen either way. As long as no claim seed says anything, it is those for tuning,
    too.
    """
    arms = [
        arm
        for arm in dataset.arms.values()
        if arm.name not in (STAGE1, control.name) and arm.parts and not _nothing_to_tune(arm)
    ]
    tuned, claimed = (
        [gain(control, arm, "correct", "validation", purpose) is not None for arm in arms]
        for purpose in ("tuning", "claim")
    )
    return "tuning" if any(tuned) and (all(tuned) or not any(claimed)) else "claim"


def _nothing_to_tune(arm: ArmResults) -> bool:
    return any(one.purpose == "tuning" for one in arm.missing) and ("validation", "tuning") not in arm.parts


def control_of(dataset: DatasetResults, arm: ArmResults, control: ArmResults) -> ArmResults:
    """What an arm is held against: plain training as long as it is, where the study has it, else the control.

    Plain training is an arm `like` the control; one of another length is itself held against the control.
    """
    if arm.like == control.like or arm.num_steps == control.num_steps:
        return control
    as_long = (one for one in dataset.arms.values() if one.like == control.like and one.num_steps == arm.num_steps)
    return next((one for one in as_long if one.name != STAGE1), control)


def validation_gains(dataset: DatasetResults, control: ArmResults, mark: ItemMark = "correct") -> Mapping[str, Gain]:
    """Of every arm but stage 1 and the control, what it has more on validation than what it is held against.

    The one that has most more than the control comes first, of equals the first of the study. Test is not looked at. An
    arm without a finished run on these seeds is not there.
    """
    purpose = validation_purpose(dataset, control)
    found: list[tuple[float, Gain]] = []
    for arm in dataset.arms.values():
        if arm.name in (STAGE1, control.name):
            continue
        over = gain(control, arm, mark, "validation", purpose)
        gained = gain(control_of(dataset, arm, control), arm, mark, "validation", purpose)
        if over and gained:
            found.append((over.rate.difference, gained))
    return {gained.second: gained for _, gained in sorted(found, key=lambda item: -item[0])}


def best_on_validation(dataset: DatasetResults, control: ArmResults) -> Gain | None:
    """What the most accurate arm gains on validation, of those whose format is not shown worse than the margin."""
    formats = validation_gains(dataset, control, "format_valid")
    kept = (
        gained
        for name, gained in validation_gains(dataset, control).items()
        if against(formats[name].rate, -FORMAT_MARGIN) != "fails"
    )
    return next(kept, None)


def mark_share(arm: ArmResults, mark: ItemMark, part: Part = "test", purpose: Purpose = "claim") -> SeedEstimate | None:
    """Share of items with the mark, with its interval over seeds and items; None without a finished run."""
    found = arm.parts.get((part, purpose))
    return None if found is None else arm_share(_by_item(found.marks[mark]))


def key_given_own_cot(arm: ArmResults, part: Part = "test", purpose: Purpose = "claim") -> SeedEstimate | None:
    """Of the items whose own CoT reaches the gold, or whose Key is right, those with the right Key.

    These are the correct and the slips; None where there are none.
    """
    found = arm.parts.get((part, purpose))
    if found is None:
        return None
    correct = found.marks["correct"]
    return arm_ratio(_by_item(correct), _by_item(correct | found.marks["slip"]))


def key_given_gold_cot(arm: ArmResults, num_items: int, purpose: Purpose = "claim") -> SeedEstimate | None:
    """Of held-out items of validation, those whose Key the model chooses given the gold CoT, at the end of its stage.

    Args:
        arm: Whose.
        num_items: Of how many items at most a run measures it; of fewer where validation has fewer.
        purpose: Of the seeds.
    """
    last = [run.curve[-1] for run in arm.runs if run.purpose == purpose and run.curve]
    measured = min((point.examples or num_items for point in last), default=num_items)
    return counted_share(np.array([point.forced_key_match for point in last]), measured) if last else None


def _by_item(marks: Marked) -> Array:
    """(items, seeds), as the formulas have it."""
    return marks.T.astype(np.float64)
