"""The loss plot of a run: what each region costs over all stages, in training and on held-out examples.

matplotlib is loaded where a figure is made: on several ranks the first one alone plots.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.storage.appearing import write_bytes
from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.recipe import Recipe, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe and Ito: told apart also without colour vision.
LOSS_COLOURS = {"prompt": "#999999", "cot": "#0072B2", "tag": "#009E73", "key": "#D55E00", "eos": "#CC79A7"}
TRAINING: Mapping[str, Any] = {"linestyle": "-", "linewidth": 1.6}
HELDOUT: Mapping[str, Any] = {"linestyle": ":", "linewidth": 0.9, "marker": "o", "markersize": 4}
MAX_COLUMNS = 3  # of panels; more stages go into a second row
SMOOTHED_POINTS = 60  # of a line: the course of a stage, without the noise of single batches


def plot_loss(rows: Sequence[MetricsRow], recipe: Recipe, path: Path) -> None:
    """Write the loss plot as PNG."""
    buffer = io.BytesIO()
    loss_figure(rows, recipe).savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue())


def loss_figure(rows: Sequence[MetricsRow], recipe: Recipe) -> "Figure":
    """One panel per stage that has begun: lines are training, dots are held-out examples.

    The loss of a region is the mean over its tokens in nats, whatever weight they carry. A region without weight has no
    line, only dots where a held-out set is given. Axes are logarithmic, as regions differ by orders of magnitude.
    """
    from matplotlib.figure import Figure

    stages = [stage for stage in recipe.stages if any(row["stage"] == stage.name for row in rows)]
    num_columns = min(len(stages), MAX_COLUMNS)
    num_rows = math.ceil(len(stages) / num_columns)
    figure = Figure(figsize=(1.5 + 4.2 * num_columns, 0.6 + 3.4 * num_rows), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False)
    for stage, axes in zip(stages, panels.flat, strict=False):
        _plot_stage([row for row in rows if row["stage"] == stage.name], axes)
        axes.set_title(_title(stage, recipe), fontsize=10)
    for axes in panels.flat[len(stages) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("loss per token (nats)")
    # A name is free text, and `$` would begin mathematics.
    figure.suptitle(f"{recipe.name}, seed {recipe.seed}: loss by region", fontsize=11, parse_math=False)
    figure.legend(handles=_legend(rows), loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _plot_stage(rows: Sequence[MetricsRow], axes: "Axes") -> None:
    from matplotlib.ticker import LogFormatter, MaxNLocator

    for region, colour in LOSS_COLOURS.items():
        steps, losses = _curve(rows, "train", region)
        if steps:
            axes.plot(*_smoothed(steps, losses), color=colour, **TRAINING)
        steps, losses = _curve(rows, "heldout", region)
        if steps:
            axes.plot(steps, losses, color=colour, **HELDOUT)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    # Numbers between powers of ten only where the axis spans less than 1.5 of them.
    axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel("optimizer step")
    axes.grid(visible=True, which="major", alpha=0.3)


def _curve(rows: Sequence[MetricsRow], kind: str, region: str) -> tuple[list[int], list[float]]:
    of_kind = [row for row in rows if row["kind"] == kind and region in row["loss_by_region"]]
    points = [(row["step"], row["loss_by_region"][region]) for row in of_kind]
    return [step for step, _ in points], [loss for _, loss in points]


def _smoothed(steps: Sequence[int], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means over runs of neighbouring points, so that about `SMOOTHED_POINTS` remain; each at the middle of its run."""
    size = max(1, len(steps) // SMOOTHED_POINTS)
    runs = [slice(i, i + size) for i in range(0, len(steps), size)]
    return [_mean(steps[run]) for run in runs], [_mean(losses[run]) for run in runs]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _title(stage: Stage, recipe: Recipe) -> str:
    parent = recipe.parent(stage)
    start = f"from {parent.name}" if parent else "from the model"
    return f"{stage.name} ({start})\nweights: {_weights(stage)}"


def _weights(stage: Stage) -> str:
    first, last = dict(stage.region_weights), dict(stage.weights_end or stage.region_weights)
    moves = {region: f"→{last[region]:g}" if last[region] != first[region] else "" for region in first}
    named = [f"{region} {first[region]:g}{moves[region]}" for region in stage.target_regions]
    return ", ".join(named + ([f"anchor {stage.anchor:g}"] if stage.anchor else []) + ["placebo"] * stage.placebo)


def _legend(rows: Sequence[MetricsRow]) -> "list[Line2D]":
    """A line per region that was measured, and what solid and dotted lines mean."""
    from matplotlib.lines import Line2D

    measured = {region for row in rows for region in row.get("loss_by_region", ())}
    regions = [Line2D([], [], color=colour, label=name) for name, colour in LOSS_COLOURS.items() if name in measured]
    styles = [Line2D([], [], color="black", label="training", **TRAINING)]
    if any(row["kind"] == "heldout" for row in rows):
        styles.append(Line2D([], [], color="black", label="held-out", **HELDOUT))
    return regions + styles
