"""The plots of a report as PNG files, and the weight curve's coordinates for the page."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_eval.examples import CLASS_LABELS
from sftkey_eval.render import visible
from sftkey_eval.summary import HEADLINE, PAPER_WEIGHT, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The light colours of report.css: apart in hue and in lightness, so also for colour-blind readers and in grey.
CLASS_COLOURS = {
    "correct": "#2b6ca3",
    "format": "#86c5d8",
    "slip": "#e0903f",
    "wrong_cot": "#b0452f",
    "no_answer": "#7b5ca3",
    "undecided": "#aeb1b5",
    "unscored": "#d5d3cd",
}
RUN_COLOURS = ("#1f5f8b", "#e0903f", "#b0452f", "#7b5ca3", "#5a5f66", "#86c5d8")
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "12 3")
LABEL_LENGTH = 28
INK, MUTED, RULE = "#1c1e21", "#5a5f66", "#dedad2"
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 160,
}

# The page's curve, in its own units; narrow, so that its labels stay legible on a phone.
LEFT, RIGHT, TOP, BOTTOM = 40.0, 428.0, 12.0, 222.0


@dataclass(frozen=True, slots=True)
class Line:
    """One run's composite over the weight of accuracy: a straight line from its format rate to its accuracy."""

    label: str
    colour: int
    dash: str
    y_format: float
    y_accuracy: float
    y_paper: float


def curve_lines(summaries: Mapping[str, Summary]) -> list[Line]:
    """Lines of the page's weight curve, `y` in units of its view box."""

    def y(summary: Summary, weight: float) -> float:
        return round(BOTTOM - summary.composite_at(weight) * (BOTTOM - TOP), 2)

    return [
        Line(
            label=label,
            colour=index % len(RUN_COLOURS),
            dash=DASHES[index % len(DASHES)],
            y_format=y(summary, 0.0),
            y_accuracy=y(summary, 1.0),
            y_paper=y(summary, PAPER_WEIGHT),
        )
        for index, (label, summary) in enumerate(summaries.items())
    ]


def write_plots(summaries: Mapping[str, Summary], folder: Path) -> list[Path]:
    """Write `rates.png`, `classes.png` and `composite.png`; returns their paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    written = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a label in a script that the font lacks
        for name, draw in (("rates", _rates), ("classes", _classes), ("composite", _composite)):
            figure = Figure(layout="constrained")
            draw(figure, summaries)
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], metadata={"Software": None})
    return written


def _rates(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    figure.set_size_inches(8.0, 1.0 + 0.42 * len(summaries))
    panels: Any = figure.subplots(1, len(HEADLINE), sharey=True)
    for axes, (name, title) in zip(panels, HEADLINE.items(), strict=True):
        for row, summary in enumerate(summaries.values()):
            rate = summary.headline[name]
            if rate.value is None or rate.low is None or rate.high is None:
                continue
            width = 100 * (rate.high - rate.low)
            axes.barh(row, width, left=100 * rate.low, color=RUN_COLOURS[0], alpha=0.35, height=0.28)
            axes.plot([100 * rate.value], [row], "|", color=RUN_COLOURS[0], ms=12, mew=2)
        axes.set(xlim=(0, 100), title=title.replace(" among", "\namong"))
        axes.title.set_fontsize(9.5)
        axes.grid(axis="x", color=RULE, lw=0.6)
    _label_rows(panels[0], summaries)
    figure.supxlabel("percent, with 95 % intervals", fontsize=9, color=MUTED)


def _classes(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    figure.set_size_inches(8.0, 1.3 + 0.42 * len(summaries))
    axes = figure.subplots()
    left = [0.0] * len(summaries)
    for name, label in CLASS_LABELS.items():
        shares = [100 * (summary.error_classes[name].value or 0.0) for summary in summaries.values()]
        if any(shares):
            axes.barh(range(len(shares)), shares, left=left, color=CLASS_COLOURS[name], label=label, height=0.62)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set(xlim=(0, 100), xlabel="percent of all items")
    _label_rows(axes, summaries)
    figure.legend(loc="outside upper left", ncols=len(CLASS_LABELS), frameon=False, fontsize=9)


def _composite(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    figure.set_size_inches(6.4, 3.8)
    axes = figure.subplots()
    handles: list[Any] = []
    for line, summary in zip(curve_lines(summaries), summaries.values(), strict=True):
        dash = (0, tuple(map(float, line.dash.split()))) if line.dash != "none" else "solid"
        ends = [100 * summary.composite_at(weight) for weight in (0, 1)]
        handles += axes.plot([0, 1], ends, color=RUN_COLOURS[line.colour], ls=dash, lw=1.8)
    axes.axvline(PAPER_WEIGHT, color=MUTED, lw=0.8, ls=":")
    axes.set(xlim=(0, 1), ylim=(0, 100), xlabel="weight of accuracy (the rest on format)", ylabel="composite, percent")
    axes.grid(color=RULE, lw=0.6)
    axes.legend(handles, _labels(summaries), frameon=False, fontsize=9)


def _label_rows(axes: "Axes", summaries: Mapping[str, Summary]) -> None:
    axes.set_yticks(range(len(summaries)), _labels(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)


def _labels(summaries: Mapping[str, Summary]) -> list[str]:
    """Labels that fit the plot; a dollar is a dollar and not mathematics."""
    shown = (" ".join(visible(label).split()) for label in summaries)
    return [
        (label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}…").replace("$", r"\$")
        for label in shown
    ]
