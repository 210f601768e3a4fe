"""What the plots of a study show; the page draws it as SVG, `study_plots.py` with matplotlib."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sftkey_eval.analysis.arms import ArmRate
from sftkey_eval.report.charts import NUM_COLOURS, Axis, ChartInterval, Forest, ForestRow, round_axis
from sftkey_eval.report.printed import finding
from sftkey_eval.statistics.arm_seeds import SeedEstimate
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.report.study_numbers import DatasetNumbers, OnValidation, StudyNumbers
from sftkey_train.study.report.study_tables import RATE_TITLES

Line = tuple[tuple[float, float], ...]
"""Points as (step, percent of Keys)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePanel:
    """The learning curve of an arm: mean over the seeds, each seed, and the control's mean to hold it against."""

    label: str
    colour: int
    mean: Line
    seeds: tuple[Line, ...]
    control: Line


@dataclass(frozen=True, slots=True)
class CurvePanels:
    """Learning curves side by side, all from 0 to `num_steps` and from 0 to 100 %."""

    num_steps: float
    panels: tuple[CurvePanel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipPoint:
    """A dataset in the panel of an arm: slips after stage 1 in percent, gain over the control in points."""

    dataset: str
    number: int
    slips: ChartInterval
    gain: ChartInterval
    shown: bool


@dataclass(frozen=True, slots=True)
class SlipPanel:
    """Gains of an arm against the slips of stage 1."""

    label: str
    colour: int
    points: tuple[SlipPoint, ...]


@dataclass(frozen=True, slots=True)
class SlipPanels:
    """An arm each, all with the same axes; datasets are numbered from 1 in the study's order."""

    x: Axis
    y: Axis
    panels: tuple[SlipPanel, ...]


@dataclass(frozen=True, slots=True)
class SettingPanel:
    """Arms made of the same one with the same steps: (place on the axis in percent, learning rate, accuracy)."""

    label: str
    colour: int
    points: tuple[tuple[float, float, ChartInterval], ...]


@dataclass(frozen=True, slots=True)
class SettingPanels:
    """Accuracy on validation from 0 to 100 %, over the logarithm of the learning rate, with the same axes for all."""

    low: float
    high: float
    panels: tuple[SettingPanel, ...]


def colours(dataset: DatasetNumbers) -> dict[str, int]:
    """A colour for each arm by its place in the study, the same in all plots."""
    return {name: place % NUM_COLOURS for name, place in dataset.places.items()}


def gains_forest(dataset: DatasetNumbers) -> Forest | None:
    """Gains over the control in accuracy and format; None without any."""
    gains = dataset.gains.get(dataset.control, ())
    colour = colours(dataset)
    groups = {
        RATE_TITLES[mark]: tuple(
            ForestRow(
                label=gain.second,
                colour=colour[gain.second],
                difference=_points(gain.rate),
                shown=gain.rate.shown,
                finding=finding(gain.rate),
            )
            for gain in gains
            if gain.mark == mark
        )
        for mark in ("correct", "format_valid")
    }
    if not gains:
        return None
    ends = (end for rows in groups.values() for row in rows for end in (row.difference.low, row.difference.high))
    return Forest(axis=round_axis([0.0, *ends], at_least=2.0, bounds=(-100.0, 100.0)), groups=groups)


def curve_panels(dataset: DatasetNumbers) -> CurvePanels | None:
    """Learning curves of all arms; None where none was measured."""
    if not dataset.curves:
        return None
    means = {curve.name: _percent(curve.mean) for curve in dataset.curves}
    colour = colours(dataset)
    panels = tuple(
        CurvePanel(
            label=curve.name,
            colour=colour[curve.name],
            mean=means[curve.name],
            seeds=tuple(_percent(of_seed) for of_seed in curve.seeds.values()),
            control=means.get(dataset.control, ()) if curve.name != dataset.control else (),
        )
        for curve in dataset.curves
    )
    return CurvePanels(max(step for panel in panels for step, _ in (*panel.mean, *panel.seeds[0])), panels)


def setting_panels(dataset: DatasetNumbers) -> SettingPanels | None:
    """Accuracy on validation by learning rate, where there are arms of one kind that differ; else None."""
    found: dict[tuple[str, int | None], dict[float, OnValidation]] = {}
    for arm in dataset.validation:
        if arm.like in dataset.varied and arm.lr:
            found.setdefault((arm.like, arm.steps), {})[arm.lr] = arm
    if not found:
        return None
    rates = [lr for arms in found.values() for lr in arms]
    low, high = min(rates), max(rates)
    colour, width = colours(dataset), math.log(high / low) or 1.0

    def panel(like: str, steps: int | None, arms: dict[float, OnValidation]) -> SettingPanel:
        at = ((100 * math.log(lr / low) / width, lr, _share(arm.correct)) for lr, arm in sorted(arms.items()))
        first = next(iter(arms.values()))
        return SettingPanel(f"{like}, {steps} steps", colour[first.name], tuple(at))

    return SettingPanels(low, high, tuple(panel(*key, arms) for key, arms in found.items()))


def slip_panels(numbers: StudyNumbers) -> SlipPanels | None:
    """Gains against slips over all datasets; None with a single one, which has but one rate of slips."""
    found: dict[str, list[SlipPoint]] = {}
    for number, dataset in enumerate(numbers.datasets, 1):
        for gain in dataset.gains.get(dataset.control, ()):
            if gain.mark == "correct" and dataset.headroom and dataset.control != STAGE1:
                point = SlipPoint(
                    dataset=dataset.name,
                    number=number,
                    slips=_share(dataset.headroom.slip),
                    gain=_points(gain.rate),
                    shown=gain.rate.shown,
                )
                found.setdefault(gain.second, []).append(point)
    points = [point for of_arm in found.values() for point in of_arm]
    if len({point.dataset for point in points}) < 2:
        return None
    colour = colours(numbers.datasets[0])
    return SlipPanels(
        x=round_axis([0.0, *_ends(point.slips for point in points)]),
        y=round_axis([0.0, *_ends(point.gain for point in points)], bounds=(-100.0, 100.0)),
        panels=tuple(SlipPanel(name, colour[name], tuple(of_arm)) for name, of_arm in found.items()),
    )


def _ends(intervals: Iterable[ChartInterval]) -> list[float]:
    return [end for interval in intervals for end in (interval.low, interval.high)]


def _points(rate: ArmRate) -> ChartInterval:
    return _chart_interval(rate.difference, rate.low, rate.high)


def _share(found: SeedEstimate) -> ChartInterval:
    return _chart_interval(found.value, found.low, found.high)


def _chart_interval(value: float, low: float | None, high: float | None) -> ChartInterval:
    """In percent; without an interval its ends are the value."""
    return ChartInterval(100 * value, 100 * (value if low is None else low), 100 * (value if high is None else high))


def _percent(curve: Iterable[tuple[int, float]]) -> Line:
    return tuple((float(step), 100 * share) for step, share in curve)
