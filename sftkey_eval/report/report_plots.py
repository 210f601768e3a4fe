"""The plots of a report as PNG and SVG files, drawn by matplotlib, which is loaded where they are written."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from sftkey_data.console import visible
from sftkey_data.storage.appearing import appearing, make_folder
from sftkey_eval.analysis.groups import Breakdown
from sftkey_eval.analysis.summary import HEADLINE, PAPER_WEIGHT, Rate, Summary
from sftkey_eval.report.charts import Forest, Scatter, curve
from sftkey_eval.report.example_browser import CLASS_LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Figure], None]

# The light colours of base.css and charts.css: apart in hue and lightness, so also for the colour-blind and in grey.
CLASS_COLOURS = {
    "correct": "#2b6ca3",
    "format": "#86c5d8",
    "slip": "#e0903f",
    "wrong_cot": "#b0452f",
    "no_answer": "#7b5ca3",
    "undecided": "#aeb1b5",
    "unscored": "#d5d3cd",
}
RUN_COLOURS = ("#1f5f8b", "#b35c00", "#9c2f4f", "#6d4ca3", "#5a5f66", "#0b7267")
PlotFormat = Literal["png", "svg", "pdf"]
PLOT_FORMATS: tuple[PlotFormat, ...] = ("png", "svg", "pdf")
COLUMN_INCHES = 3.03  # 7.7 cm, the column of a two-column article; a PDF is as wide, for a paper
# No date and no version of matplotlib in the file, so that the same plot is the same bytes.
_WITHOUT: Mapping[PlotFormat, Mapping[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
LABEL_LENGTH = 28  # characters; beyond it a label would take the room of the plot
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
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType: Type 3 fonts are refused by some publishers
    "svg.hashsalt": "sftkey",  # the same plot, the same bytes
}
# Of a column: letters of the size of a caption, thin lines, and less height for the same rows.
NARROW_STYLE: Any = STYLE | {
    "font.size": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.handlelength": 1.4,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
}
_NARROW_HEIGHT = 0.65


def run_figures(
    summaries: Mapping[str, Summary], breakdowns: Sequence[Breakdown], scatter: Scatter, forest: Forest | None
) -> dict[str, tuple[str, "Draw"]]:
    """Every plot of a report by file name: what it shows, and what draws it."""
    figures: dict[str, tuple[str, Draw]] = {
        "rates": ("Rates with 95 % intervals", lambda figure: _rates(figure, summaries)),
        "scatter": ("Format against accuracy", lambda figure: _scatter(figure, scatter)),
        "error_classes": ("Error classes", lambda figure: _classes(figure, summaries)),
        "composite": ("Composite by weight of accuracy", lambda figure: _composite(figure, summaries)),
    }
    if forest:
        figures |= forest_figure(forest)
    if any(summary.format_errors for summary in summaries.values()):
        figures["format_errors"] = ("Format errors by code", lambda figure: _codes(figure, summaries))
    for breakdown in breakdowns:
        title = f"Strict accuracy by {breakdown.title}"
        figures[f"by_{breakdown.name}"] = (title, partial(_breakdown, breakdown=breakdown))
    return figures


def forest_figure(forest: Forest) -> dict[str, tuple[str, "Draw"]]:
    """The plot of paired differences alone."""
    return {"paired": ("Paired differences with 95 % intervals", partial(draw_forest, forest=forest))}


def write_plots(
    figures: Mapping[str, tuple[str, "Draw"]], folder: Path, formats: Sequence[PlotFormat] = PLOT_FORMATS
) -> dict[str, str]:
    """Write every figure as `NAME.png`, `NAME.svg` and `NAME.pdf`, the last as wide as a column; what each shows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    make_folder(folder)
    wide, narrow = ([kind for kind in formats if (kind == "pdf") is is_pdf] for is_pdf in (False, True))
    for style, width, kinds in ((STYLE, 6.4, wide), (NARROW_STYLE, COLUMN_INCHES, narrow)):
        if not kinds:
            continue
        with mpl.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a label in a script that the font lacks
            for name, (title, draw) in figures.items():
                figure = Figure(figsize=(width, 1.0), layout="constrained")
                draw(figure)
                for kind in kinds:
                    _save(figure, folder / f"{name}.{kind}", {**_WITHOUT[kind], "Title": title})
                    figure.set_layout_engine("none")  # the first format has laid it out, which takes half of the time
    return {name: title for name, (title, _) in figures.items()}


def is_narrow(figure: "Figure") -> bool:
    """Whether it is drawn for a column of a paper."""
    return float(figure.get_figwidth()) <= COLUMN_INCHES


def set_size(figure: "Figure", width: float, height: float) -> None:
    """Inches; one for a column keeps its width."""
    if is_narrow(figure):
        figure.set_size_inches(COLUMN_INCHES, _NARROW_HEIGHT * height)
    else:
        figure.set_size_inches(width, height)


def _legend(figure: "Figure", **settings: Any) -> None:
    """At the right; of a column above, in two columns where the labels are short."""
    longest = max((len(text) for axes in figure.axes for text in axes.get_legend_handles_labels()[1]), default=0)
    above = {"loc": "outside upper left", "ncols": 2 if longest <= LABEL_LENGTH / 2 else 1}
    place: Any = above if is_narrow(figure) else {"loc": "outside right upper"}
    figure.legend(**place, **settings, frameon=False, fontsize="small")


def _save(figure: "Figure", path: Path, metadata: dict[str, Any]) -> None:
    with appearing(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata=metadata)


def _rates(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    set_size(figure, 8.0, 1.0 + 0.42 * len(summaries) * (2 if is_narrow(figure) else 1))
    rows = 2 if is_narrow(figure) else 1
    panels: Any = figure.subplots(rows, len(HEADLINE) // rows, sharey=True, sharex=True, squeeze=False)
    for axes, (name, title) in zip(chain.from_iterable(panels), HEADLINE.items(), strict=True):
        for row, summary in enumerate(summaries.values()):
            rate = summary.headline[name]
            if rate.value is None or rate.low is None or rate.high is None:
                continue
            width = 100 * (rate.high - rate.low)
            axes.barh(row, width, left=100 * rate.low, color=RUN_COLOURS[0], alpha=0.35, height=0.28)
            axes.plot([100 * rate.value], [row], "|", color=RUN_COLOURS[0], ms=12, mew=2)
        axes.set(xlim=(0, 100), title=title.replace(" among", "\namong"))
        axes.title.set_fontsize("medium")
        axes.grid(axis="x", color=RULE, lw=0.6)
    for first, *_ in panels:
        label_rows(first, list(summaries))
    figure.supxlabel("percent, with 95 % intervals", fontsize="small", color=MUTED)


def _classes(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    set_size(figure, 8.0, 1.3 + 0.42 * len(summaries))
    axes = figure.subplots()
    left = [0.0] * len(summaries)
    for name, label in CLASS_LABELS.items():
        shares = [100 * (summary.error_classes[name].value or 0.0) for summary in summaries.values()]
        if any(shares):
            axes.barh(range(len(shares)), shares, left=left, color=CLASS_COLOURS[name], label=label, height=0.62)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set(xlim=(0, 100), xlabel="percent of all items")
    label_rows(axes, list(summaries))
    figure.legend(
        loc="outside upper left", ncols=4 if is_narrow(figure) else len(CLASS_LABELS), frameon=False, fontsize="small"
    )


def _composite(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    set_size(figure, 6.4, 3.8)
    axes = figure.subplots()
    handles: list[Any] = []
    for line in curve(summaries):
        dash = (0, tuple(map(float, line.dash.split()))) if line.dash != "none" else "solid"
        colour = RUN_COLOURS[line.colour]
        weights, low, high = zip(*line.band, strict=True)
        axes.fill_between([weight / 100 for weight in weights], low, high, color=colour, alpha=0.14, lw=0)
        handles += axes.plot([0, 1], [line.format, line.accuracy], color=colour, ls=dash, lw=1.8)
        axes.plot([PAPER_WEIGHT], [line.paper], "o", color=colour, ms=5)
    axes.axvline(PAPER_WEIGHT, color=MUTED, lw=0.8, ls=":")
    axes.set(xlim=(0, 1), ylim=(0, 100), xlabel="weight of accuracy (the rest on format)", ylabel="composite, percent")
    axes.grid(color=RULE, lw=0.6)
    axes.legend(handles, short_labels(list(summaries)), frameon=False, fontsize="small")


def _scatter(figure: "Figure", scatter: Scatter) -> None:
    set_size(figure, 6.4, 4.4)
    axes = figure.subplots()
    for trail in scatter.trails:
        steps = [scatter.points[number - 1] for number in trail]
        axes.plot([p.format.value for p in steps], [p.strict.value for p in steps], color=MUTED, lw=1)
    for point in scatter.points:
        colour = RUN_COLOURS[point.colour]
        x, y = point.format, point.strict
        axes.plot([x.low, x.high], [y.value, y.value], color=colour, lw=1.4, alpha=0.6)
        axes.plot([x.value, x.value], [y.low, y.high], color=colour, lw=1.4, alpha=0.6)
        label = f"{point.number}  {short_labels([point.label])[0]}"
        axes.plot([x.value], [y.value], "o", color=colour, ms=13, label=label, clip_on=False)
        axes.text(x.value, y.value, str(point.number), color="white", ha="center", va="center", fontsize=8)
    axes.set(xlim=(scatter.x.low, scatter.x.high), ylim=(scatter.y.low, scatter.y.high))
    axes.set(xlabel="format rate, percent", ylabel="strict accuracy, percent")
    axes.grid(color=RULE, lw=0.6)
    _legend(figure, markerscale=0.6)


def draw_forest(figure: "Figure", forest: Forest, shown: str = "shown at 5 % (mid-p)") -> None:
    """Draw differences with their intervals; the marks are filled where they are `shown`, in words."""
    rows = [(title, row) for title, group in forest.groups.items() for row in group]
    set_size(figure, 7.2, 0.9 + 0.36 * len(rows))
    axes = figure.subplots()
    for at, (_, row) in enumerate(rows):
        colour, span = RUN_COLOURS[row.colour], row.difference
        axes.plot([span.low, span.high], [at, at], color=colour, lw=2)
        axes.plot([span.value], [at], "s", color=colour, ms=6, mfc=colour if row.shown else "white")
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set(xlim=(forest.axis.low, forest.axis.high))
    figure.supxlabel(f"difference in points; filled: {shown}", fontsize="small", color=MUTED)
    axes.grid(axis="x", color=RULE, lw=0.6)
    label_rows(axes, [f"{title}: {row.label}" for title, row in rows], 2 * LABEL_LENGTH)


def _codes(figure: "Figure", summaries: Mapping[str, Summary]) -> None:
    codes = sorted({code for summary in summaries.values() for code in summary.format_errors})
    set_size(figure, 7.2, 0.9 + 0.2 * len(codes) * (len(summaries) + 1))
    axes = figure.subplots()
    height = 0.8 / len(summaries)
    for index, (label, summary) in enumerate(zip(short_labels(list(summaries)), summaries.values(), strict=True)):
        at = [row - 0.4 + (index + 0.5) * height for row in range(len(codes))]
        counted = [summary.format_errors.get(code, 0) for code in codes]
        axes.barh(at, counted, height=height * 0.9, color=RUN_COLOURS[index % len(RUN_COLOURS)], label=label)
    axes.set(xlabel="completions")
    label_rows(axes, codes)
    _legend(figure)


def _breakdown(figure: "Figure", breakdown: Breakdown) -> None:
    set_size(figure, 7.2, 3.4)
    axes = figure.subplots()
    width = 0.7 / len(breakdown.rates)
    for index, (label, rates) in enumerate(breakdown.rates.items()):
        at = [group - 0.35 + (index + 0.5) * width for group in range(len(rates))]
        colour = RUN_COLOURS[index % len(RUN_COLOURS)]
        known = [(x, rate) for x, rate in zip(at, rates, strict=True) if rate.value is not None]
        axes.vlines([x for x, _ in known], *_ends([rate for _, rate in known]), color=colour, lw=1.6, alpha=0.6)
        shown = [100 * (rate.value or 0.0) for _, rate in known]
        axes.plot([x for x, _ in known], shown, "o", color=colour, ms=5, label=short_labels([label])[0], clip_on=False)
    axes.set(ylim=(0, 100), ylabel="strict accuracy, percent", xlabel=breakdown.unit)
    names = short_labels(list(breakdown.groups))
    if is_narrow(figure):
        names = [name.replace("–", "–\n") for name in names]  # a range in two lines
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="y", color=RULE, lw=0.6)
    _legend(figure)


def _ends(rates: Sequence[Rate]) -> tuple[list[float], list[float]]:
    return [100 * (rate.low or 0.0) for rate in rates], [100 * (rate.high or 0.0) for rate in rates]


def label_rows(axes: "Axes", labels: Sequence[str], length: int = LABEL_LENGTH) -> None:
    """Name the rows of a plot, the first on top."""
    length = round(0.6 * length) if is_narrow(cast("Figure", axes.figure)) else length
    axes.set_yticks(range(len(labels)), short_labels(labels, length))
    axes.set_ylim(len(labels) - 0.5, -0.5)


def short_labels(labels: Sequence[str], length: int = LABEL_LENGTH) -> list[str]:
    """Labels that fit the plot; no dollar begins mathematics, no leading underscore hides a label from the legend."""
    shown = (" ".join(visible(label).split()) for label in labels)
    shown = (f" {label}" if label.startswith("_") else label for label in shown)
    return [(label if len(label) <= length else f"{label[: length - 1]}…").replace("$", r"\$") for label in shown]
