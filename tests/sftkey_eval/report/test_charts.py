"""What the plots show, and that every plot is a file in both forms."""

import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eval_samples import CUT, LUCKY, RIGHT, SLIP, WRONG, completion, write_run

from sftkey_eval.analysis.groups import by_cot_length
from sftkey_eval.analysis.loaded_runs import Run, load_runs
from sftkey_eval.analysis.paired_comparison import compare_runs
from sftkey_eval.analysis.summary import summarize
from sftkey_eval.report.charts import curve, forest, round_axis, scatter
from sftkey_eval.report.paper.latex_table import COLUMN_POINTS
from sftkey_eval.report.printed import OUTCOME_TITLES
from sftkey_eval.report.report import make_report, report
from sftkey_eval.report.report_plots import COLUMN_INCHES, NARROW_STYLE, PLOT_FORMATS, run_figures

HOSTILE = "_$</text><script>alert(1)</script>\x00"


def rows(completions: list[str]) -> list[dict[str, Any]]:
    return [{"completion": text} for text in completions]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    longer = completion("20 and 22 are 42, so 20 + 22 = 42", "42")
    texts = {
        "step-100": [RIGHT] * 4 + [longer] * 4 + [SLIP] * 8 + [CUT] * 4,
        "other": [RIGHT] * 12 + [LUCKY] * 4 + [WRONG] * 4,
        "step-20": [RIGHT] * 4 + [SLIP] * 8 + [CUT] * 8,
    }
    return load_runs([str(write_run(folder / name, rows(found))) for name, found in texts.items()])


@pytest.mark.parametrize(
    "values", [[0.0], [99.6, 99.9], [41.3, 43.0], [0.0, 100.0], [3.0, 62.0], []], ids=lambda values: str(values)
)
def test_axes_hold_their_values_between_round_ticks(values: list[float]) -> None:
    axis = round_axis(values)
    assert all(axis.low <= value <= axis.high for value in values)
    assert axis.ticks[0] == axis.low >= 0
    assert axis.ticks[-1] == axis.high <= 100
    assert 3 <= len(axis.ticks) <= 9
    assert [axis.share(axis.low), axis.share(axis.high)] == [0, 100]


def test_the_scatter_places_runs_by_their_rates_and_joins_checkpoints_by_step(runs: list[Run]) -> None:
    summaries = {run.label: summarize(run.verdicts) for run in runs}
    plot = scatter(runs, summaries)
    places = [(point.number, point.format.value, point.strict.value) for point in plot.points]
    assert places == [(1, 80.0, 40.0), (2, 100.0, 80.0), (3, 60.0, 20.0)]
    assert plot.trails == ((3, 1),)
    for point in plot.points:
        assert plot.x.low <= point.format.low < point.format.high <= plot.x.high
        assert plot.y.low <= point.strict.low < point.strict.high <= plot.y.high


def test_the_forest_holds_zero_and_every_interval(runs: list[Run]) -> None:
    comparison = compare_runs(runs[0], runs[1])
    plot = forest([comparison], ("format", "strict"))
    assert plot is not None
    assert 0 in plot.axis.ticks
    (row,) = plot.groups["Strict accuracy"]
    rate = comparison.rates["strict"]
    assert (row.difference.value, row.shown) == (100 * rate.difference, rate.shown)
    for group in plot.groups.values():
        assert plot.axis.low <= group[0].difference.low < group[0].difference.high <= plot.axis.high
    far = forest([compare_runs(runs[2], runs[1])], ("strict",))
    assert far is not None
    assert far.groups["Strict accuracy"][0].difference.low > 20
    assert 0 in far.axis.ticks
    assert forest([], ("format",)) is None


def test_the_curve_runs_from_format_over_the_papers_weight_to_accuracy(runs: list[Run]) -> None:
    summaries = {run.label: summarize(run.verdicts) for run in runs}
    (line, *_) = curve(summaries)
    assert (line.format, line.accuracy) == (80.0, 40.0)
    assert line.paper == pytest.approx(0.7 * 40 + 0.3 * 80)
    assert [weight for weight, _, _ in line.band] == pytest.approx([10 * tenth for tenth in range(11)])
    for weight, low, high in line.band:
        at = 100 * summaries[line.label].composite_at(weight / 100)
        assert low < at < high


def test_groups_of_cot_length_hold_every_item_once(tmp_path: Path) -> None:
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]
    texts = [completion(" ".join(["42"] * n), "42" if n < 10 else "41") for n in lengths]
    (run,) = load_runs([str(write_run(tmp_path / "run", rows([*texts, "w " * 144])))])
    assert list(run.cot_words) == [*lengths, 144]
    found = by_cot_length([run])
    rates = found.rates[run.label]
    assert sum(rate.n for rate in rates) == 11
    assert min(rate.n for rate in rates) > 0
    assert [rate.k for rate in rates][-2:] == [0, 0]
    for group, rate in zip(found.groups, rates, strict=True):
        low, high = map(int, group.split("–"))
        assert rate.n == sum(low <= length <= high for length in [*lengths, 144])


def test_one_length_is_one_group(tmp_path: Path) -> None:
    (run,) = load_runs([str(write_run(tmp_path / "run", rows([RIGHT] * 5)))])
    assert by_cot_length([run]).groups == ("5",)


def test_every_plot_is_a_file_of_each_kind_with_a_title_and_nothing_foreign(runs: list[Run], tmp_path: Path) -> None:
    label = HOSTILE.replace("=", "")
    report([f"{label}={runs[0].path}", str(runs[1].path)], tmp_path)
    names = {"rates", "scatter", "error_classes", "composite", "paired", "format_errors", "by_cot_length"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {f"{n}.{e}" for n in names for e in PLOT_FORMATS}
    for name in names:
        png, pdf = ((tmp_path / "plots" / f"{name}.{kind}").read_bytes() for kind in ("png", "pdf"))
        assert png.startswith(b"\x89PNG")
        dots_per_metre = struct.unpack(">I", png[png.index(b"pHYs") + 4 :][:4])[0]
        assert round(dots_per_metre * 0.0254) == 300
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)[1])
        assert width <= COLUMN_POINTS
        tree = ET.parse(tmp_path / "plots" / f"{name}.svg")
        tags = {element.tag.split("}")[-1] for element in tree.iter()}
        assert "path" in tags
        assert "script" not in tags
        assert tree.find(".//{http://purl.org/dc/elements/1.1/}title") is not None


def test_nothing_of_a_plot_as_wide_as_a_column_is_cut_off(runs: list[Run]) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = ("Qwen2.5-Math-7B-Instruct/stage 2 with a weight", "continued", "answer_only_with_a_long_name_of_its_own")
    named = [replace(run, label=name) for run, name in zip(runs, names, strict=True)]
    made = make_report(named)
    plots = scatter(made.runs, made.summaries), forest(made.comparisons, tuple(OUTCOME_TITLES))
    for name, (_, draw) in run_figures(made.summaries, made.breakdowns, *plots).items():
        with mpl.rc_context(NARROW_STYLE):
            figure = Figure(figsize=(COLUMN_INCHES, 1.0), layout="constrained")
            draw(figure)
            FigureCanvasAgg(figure).draw()  # lays it out
            box = figure.get_tightbbox()
        assert figure.get_figwidth() == COLUMN_INCHES
        assert box.x0 >= -0.02, name
        assert box.x1 <= COLUMN_INCHES + 0.02, name
        assert box.y0 >= -0.02, name
        assert box.y1 <= figure.get_figheight() + 0.02, name
