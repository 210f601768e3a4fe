"""What the plots show, apart from how they are drawn: the page draws it as SVG, `report_plots.py` with matplotlib."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.paired_comparison import Comparison
from sftkey_eval.analysis.summary import PAPER_WEIGHT, Rate, Summary
from sftkey_eval.report.printed import OUTCOME_TITLES, finding

NUM_COLOURS = 6  # `.r-0` to `.r-5` in charts.css, RUN_COLOURS in report_plots.py
# So that lines are told apart in grey, too; as SVG has them, lengths of line and gap.
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "12 3")
# The step at the end of `checkpoint-500`, `best-500` or `step_500`.
_STEP_NAME = re.compile(r"(?:checkpoint|best|step)[-_]?(\d+)$")


@dataclass(frozen=True, slots=True)
class Axis:
    """A range with round ticks; everything in percent or points."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value stands, 0 at the low end and 100 at the high end."""
        return 100 * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class ChartInterval:
    """A mark with its interval, in percent or points."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPoint:
    """A run in the plot of format against accuracy; `number` counts from 1, in the order of the runs."""

    label: str
    number: int
    colour: int
    format: ChartInterval
    strict: ChartInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Format against accuracy; `trails` are runs by number, checkpoints of one training in the order of their steps."""

    x: Axis
    y: Axis
    points: tuple[ChartPoint, ...]
    trails: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """A paired difference in points."""

    label: str
    colour: int
    difference: ChartInterval
    shown: bool
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Paired differences, grouped by the rate they are of."""

    axis: Axis
    groups: dict[str, tuple[ForestRow, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLine:
    """One run's composite in percent: straight from its format rate (weight 0) to its accuracy (weight 1).

    Args:
        label: The run's.
        colour: Its number among the colours of runs.
        dash: As SVG has it.
        format: At weight 0.
        accuracy: At weight 1.
        paper: At the paper's weight.
        band: The 95 % interval as (weight in percent, low, high), by ascending weight.
    """

    label: str
    colour: int
    dash: str
    format: float
    accuracy: float
    paper: float
    band: tuple[tuple[float, float, float], ...]


def round_axis(values: Iterable[float], *, at_least: float = 5.0, bounds: tuple[float, float] = (0.0, 100.0)) -> Axis:
    """An axis over the values, with four to seven round ticks.

    Args:
        values: In percent or points; none are as 0 alone.
        at_least: How long it is, unless the bounds are nearer.
        bounds: What it does not pass.
    """
    found = sorted(values) or [0.0]
    low, high = found[0], found[-1]
    room = max(at_least, (high - low) * 1.08)  # 4 % beyond the values on each side
    middle = (low + high) / 2
    low, high = max(bounds[0], middle - room / 2), min(bounds[1], middle + room / 2)
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100) if (high - low) / step <= 6 or step == 100)
    first = max(bounds[0], step * math.floor(low / step))
    last = min(bounds[1], step * math.ceil(high / step))
    return Axis(first, last, tuple(first + step * index for index in range(round((last - first) / step) + 1)))


def scatter(runs: Sequence[Run], summaries: Mapping[str, Summary]) -> Scatter:
    """Format against accuracy, one point per run.

    Args:
        runs: In the order of their numbers; checkpoints of one training are joined by step.
        summaries: By label, in the same order.
    """
    points = tuple(
        ChartPoint(
            label=label,
            number=index + 1,
            colour=index % NUM_COLOURS,
            format=_interval(summary.format),
            strict=_interval(summary.strict),
        )
        for index, (label, summary) in enumerate(summaries.items())
    )
    return Scatter(
        x=round_axis(end for point in points for end in (point.format.low, point.format.high)),
        y=round_axis(end for point in points for end in (point.strict.low, point.strict.high)),
        points=points,
        trails=_trails(runs),
    )


def forest(comparisons: Sequence[Comparison], names: Sequence[str]) -> Forest | None:
    """Paired differences from the first run; None without pairs."""
    if not comparisons:
        return None
    groups = {
        OUTCOME_TITLES[name]: tuple(
            ForestRow(
                label=comparison.second.label,
                colour=(index + 1) % NUM_COLOURS,  # the first is that of the run all are compared with
                difference=ChartInterval(100 * rate.difference, 100 * rate.low, 100 * rate.high),
                shown=rate.shown,
                finding=finding(rate),
            )
            for index, (comparison, rate) in enumerate((each, each.rates[name]) for each in comparisons)
        )
        for name in names
    }
    ends = [end for rows in groups.values() for row in rows for end in (row.difference.low, row.difference.high)]
    # With 0, no difference, always in sight.
    return Forest(axis=round_axis([0.0, *ends], at_least=2.0, bounds=(-100.0, 100.0)), groups=groups)


def curve(summaries: Mapping[str, Summary]) -> list[ChartLine]:
    """The composite of every run over the weight of accuracy."""
    return [
        ChartLine(
            label=label,
            colour=index % NUM_COLOURS,
            dash=DASHES[index % len(DASHES)],
            format=100 * summary.composite_at(0.0),
            accuracy=100 * summary.composite_at(1.0),
            paper=100 * summary.composite_at(PAPER_WEIGHT),
            band=tuple((100 * p.weight, 100 * p.low, 100 * p.high) for p in summary.composite_curve),
        )
        for index, (label, summary) in enumerate(summaries.items())
    ]


def _interval(rate: Rate) -> ChartInterval:
    return ChartInterval(100 * (rate.value or 0.0), 100 * (rate.low or 0.0), 100 * (rate.high or 0.0))


def _trails(runs: Sequence[Run]) -> tuple[tuple[int, ...], ...]:
    trainings: dict[str, list[tuple[int, int]]] = {}
    for number, run in enumerate(runs, 1):
        model = run.record.get("model")
        path = PurePosixPath(str(model.get("path", "")) if isinstance(model, dict) else "")
        found = _STEP_NAME.search(path.name) or _STEP_NAME.search(run.label)
        if found:
            training = str(path.parent) if _STEP_NAME.search(path.name) else run.label[: found.start()]
            trainings.setdefault(training, []).append((int(found.group(1)), number))
    return tuple(tuple(number for _, number in sorted(steps)) for steps in trainings.values() if len(steps) > 1)
