"""The plots of a study as files, drawn by matplotlib in the style of the evaluation's reports."""

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from sftkey_eval.report.report_plots import (
    MUTED,
    RULE,
    RUN_COLOURS,
    draw_forest,
    is_narrow,
    set_size,
    short_labels,
)
from sftkey_train.study.report.study_charts import (
    CurvePanel,
    CurvePanels,
    SettingPanels,
    SlipPanel,
    SlipPanels,
    curve_panels,
    gains_forest,
    setting_panels,
    slip_panels,
)
from sftkey_train.study.report.study_numbers import StudyNumbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sftkey_eval.report.report_plots import Draw

_SHOWN = "0 is not in the interval"
_COLUMNS = 4  # of panels in a plot
_WIDTH, _HEIGHT = 2.1, 1.9  # of a panel, in inches


def study_figures(numbers: StudyNumbers) -> "dict[str, tuple[str, Draw]]":
    """Every plot by file name: what it shows, and what draws it."""
    figures: dict[str, tuple[str, Draw]] = {}
    for dataset in numbers.datasets:
        if forest := gains_forest(dataset):
            title = f"{dataset.name}: gains over {dataset.control}"
            figures[f"{dataset.name}_gains"] = (title, partial(draw_forest, forest=forest, shown=_SHOWN))
        if panels := curve_panels(dataset):
            title = f"{dataset.name}: Keys given the gold CoT over the steps after stage 1"
            figures[f"{dataset.name}_curves"] = (title, partial(_curves, found=panels))
        if settings := setting_panels(dataset):
            title = f"{dataset.name}: accuracy on validation by learning rate"
            figures[f"{dataset.name}_settings"] = (title, partial(_settings, found=settings))
    if over_slips := slip_panels(numbers):
        figures["gain_by_slips"] = ("Gain against slips after stage 1", partial(_slips, found=over_slips))
    return figures


def _curves(figure: "Figure", found: CurvePanels) -> None:
    for axes, panel in zip(_panels(figure, len(found.panels)), found.panels, strict=True):
        _curve(axes, panel)
        axes.set(xlim=(0, found.num_steps), ylim=(0, 100))
    figure.supxlabel("steps after stage 1", fontsize="small", color=MUTED)
    figure.supylabel("Keys given the gold CoT, percent", fontsize="small", color=MUTED)


def _curve(axes: "Axes", panel: CurvePanel) -> None:
    colour = RUN_COLOURS[panel.colour]
    for line in panel.seeds:
        axes.plot(*zip(*line, strict=True), color=colour, lw=0.8, alpha=0.35)
    if panel.control:
        axes.plot(*zip(*panel.control, strict=True), color=MUTED, lw=1.2, ls=(0, (4, 3)))
    axes.plot(*zip(*panel.mean, strict=True), color=colour, lw=2)
    axes.set_title(short_labels([panel.label])[0], fontsize="medium", loc="left", color=colour)


def _slips(figure: "Figure", found: SlipPanels) -> None:
    for axes, panel in zip(_panels(figure, len(found.panels)), found.panels, strict=True):
        _slip_panel(axes, panel)
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.set(xlim=(found.x.low, found.x.high), ylim=(found.y.low, found.y.high))
    names = {point.number: point.dataset for panel in found.panels for point in panel.points}
    legend = "   ".join(f"{number} {short_labels([name])[0]}" for number, name in sorted(names.items()))
    figure.supxlabel(f"slips after stage 1, percent of items\n{legend}", fontsize="small", color=MUTED)
    figure.supylabel("points over the control", fontsize="small", color=MUTED)


def _slip_panel(axes: "Axes", panel: SlipPanel) -> None:
    colour = RUN_COLOURS[panel.colour]
    for point in panel.points:
        x, y = point.slips, point.gain
        axes.plot([x.low, x.high], [y.value, y.value], color=colour, lw=1.2, alpha=0.5)
        axes.plot([x.value, x.value], [y.low, y.high], color=colour, lw=1.2, alpha=0.5)
        axes.plot([x.value], [y.value], "o", color=colour, ms=10, mfc=colour if point.shown else "white")
        ink = "white" if point.shown else colour
        axes.text(x.value, y.value, str(point.number), color=ink, ha="center", va="center", fontsize=7)
    axes.set_title(short_labels([panel.label])[0], fontsize="medium", loc="left", color=colour)


def _settings(figure: "Figure", found: SettingPanels) -> None:
    for axes, panel in zip(_panels(figure, len(found.panels)), found.panels, strict=True):
        colour = RUN_COLOURS[panel.colour]
        axes.plot([lr for _, lr, _ in panel.points], [s.value for _, _, s in panel.points], "o-", color=colour, ms=4)
        for _, lr, share in panel.points:
            axes.plot([lr, lr], [share.low, share.high], color=colour, lw=1.4, alpha=0.5)
        axes.set(xscale="log", xlim=(found.low / 1.3, found.high * 1.3), ylim=(0, 100))
        axes.set_title(short_labels([panel.label])[0], fontsize="medium", loc="left", color=colour)
    figure.supxlabel("learning rate", fontsize="small", color=MUTED)
    figure.supylabel("accuracy on validation, percent", fontsize="small", color=MUTED)


def _panels(figure: "Figure", num: int) -> "list[Axes]":
    """So many panels with the same axes, row by row."""
    columns = min(num, 2 if is_narrow(figure) else _COLUMNS)
    rows = -(-num // columns)
    set_size(figure, 0.8 + _WIDTH * max(columns, 2), 0.8 + _HEIGHT * rows)
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    every: list[Axes] = list(chain.from_iterable(grid))
    for axes in every:
        axes.grid(color=RULE, lw=0.6)
        axes.tick_params(labelsize="small")
    for axes in every[num - columns : num]:  # also those over a place that is left empty
        axes.tick_params(labelbottom=True)
    for axes in every[num:]:
        axes.set_visible(False)
    return every[:num]
