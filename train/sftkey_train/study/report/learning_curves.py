"""How soon an arm learns the Key: the share of held-out Keys it chooses given the gold CoT, over its steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median

from sftkey_train.study.report.study_results import ArmResults, SeedRun

LEVELS = (0.5, 0.9)
"""Shares of held-out Keys that the steps are counted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """Share of held-out Keys given the gold CoT over the steps of an arm; step 0 is the end of stage 1.

    Args:
        name: The arm's.
        seeds: Curves as (step, share) by seed.
        mean: Over the seeds, at the steps that all have.
    """

    name: str
    seeds: Mapping[int, tuple[tuple[int, float], ...]]
    mean: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Steps until a level of Keys was measured; the median is None where half of the seeds did not get there."""

    name: str
    level: float
    median_steps: float | None
    num_reached: int
    num_seeds: int


def claim_runs(arm: ArmResults) -> list[SeedRun]:
    """The finished runs that claims are made on."""
    return [run for run in arm.runs if run.purpose == "claim"]


def learning_curve(arm: ArmResults) -> LearningCurve | None:
    """The curve of an arm over its claim seeds; None where none was measured more than once."""
    seeds = {
        run.seed: tuple((point.step, point.forced_key_match) for point in run.curve)
        for run in claim_runs(arm)
        if len(run.curve) > 1
    }
    if not seeds:
        return None
    common = set.intersection(*({step for step, _ in curve} for curve in seeds.values()))
    shares = [dict(curve) for curve in seeds.values()]
    mean = tuple((step, fmean(of_seed[step] for of_seed in shares)) for step in sorted(common))
    return LearningCurve(name=arm.name, seeds=seeds, mean=mean)


def steps_to_reach(arm: ArmResults) -> list[Reach]:
    """How soon an arm got to each of `LEVELS`; none without a curve."""
    curve = learning_curve(arm)
    if curve is None:
        return []
    found = []
    for level in LEVELS:
        steps = [next((step for step, key in of if key >= level), math.inf) for of in curve.seeds.values()]
        middle = median(steps)
        num_reached = sum(map(math.isfinite, steps))
        found.append(
            Reach(
                name=arm.name,
                level=level,
                median_steps=middle if math.isfinite(middle) else None,
                num_reached=num_reached,
                num_seeds=len(steps),
            )
        )
    return found
