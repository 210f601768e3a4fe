"""The loss plot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftkey_train.measure.loss_plot import LOSS_COLOURS, loss_figure, plot_loss
from sftkey_train.recipe import Recipe
from sftkey_train.recipe_file import load_recipe

REGIONS = {"cot": 2.0, "tag": 0.1, "key": 1.0, "eos": 0.01}


def _row(stage: str, step: int, kind: str = "train", **losses: float) -> dict[str, Any]:
    return {"kind": kind, "stage": stage, "step": step, "loss_by_region": losses}


@pytest.fixture
def recipe(tables: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]) -> Recipe:
    for number in range(2):
        tables["stage"].append({**tables["stage"][1], "name": f"fork{number}", "init_from": "full"})
    return load_recipe(write_recipe(tables))


def test_each_stage_that_has_begun_has_a_panel_with_a_line_per_region(recipe: Recipe) -> None:
    rows = [_row("full", step, **REGIONS) for step in (1, 2)] + [_row("answer", 1, tag=1, key=2, eos=3)]
    panels = [axes for axes in loss_figure(rows, recipe).axes if axes.get_visible()]
    assert [axes.get_title().splitlines()[0] for axes in panels] == ["full (from the model)", "answer (from full)"]
    assert [[line.get_color() for line in axes.lines] for axes in panels] == [
        [LOSS_COLOURS[region] for region in ("cot", "tag", "key", "eos")],
        [LOSS_COLOURS[region] for region in ("tag", "key", "eos")],
    ]
    assert list(panels[0].lines[2].get_xdata()) == [1, 2]
    assert list(panels[0].lines[2].get_ydata()) == [1.0, 1.0]


def test_the_title_says_how_the_weights_move_and_what_else_is_in_the_loss(
    tables: dict[str, Any], write_recipe: Callable[[dict[str, Any]], Path]
) -> None:
    del tables["stage"][0]["loss_on"]
    moving = {"weights": {"tag": 1.0, "key": 1.0}, "weights_end": {"tag": 1.0, "key": 9.0}, "weight_schedule": "linear"}
    tables["stage"][0] |= moving | {"anchor": 0.5, "placebo": True}
    (axes,) = loss_figure([_row("full", 1, key=1.0)], load_recipe(write_recipe(tables))).axes
    assert axes.get_title().splitlines()[1] == "weights: tag 1, key 1→9, anchor 0.5, placebo"


def test_regions_without_loss_are_seen_on_heldout_examples(recipe: Recipe) -> None:
    rows = [_row("answer", 1, key=1.0), _row("answer", 0, "heldout", cot=0.2), _row("answer", 9, "heldout", cot=0.4)]
    figure = loss_figure(rows, recipe)
    (axes,) = figure.axes
    cot = next(line for line in axes.lines if line.get_color() == LOSS_COLOURS["cot"])
    assert cot.get_linestyle() == ":"
    assert list(cot.get_ydata()) == [0.2, 0.4]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["cot", "key", "training", "held-out"]


def test_long_runs_are_drawn_as_means_of_neighbouring_steps(recipe: Recipe) -> None:
    rows = [_row("full", step, key=1.0 + step % 2) for step in range(1, 1201)]
    (line,) = loss_figure(rows, recipe).axes[0].lines
    assert len(line.get_xdata()) == 60
    assert list(line.get_ydata()) == [1.5] * 60
    assert line.get_xdata()[0] == pytest.approx(10.5)


def test_four_stages_share_a_grid_and_the_file_is_a_picture(recipe: Recipe, tmp_path: Path) -> None:
    rows = [_row(stage.name, step, **REGIONS) for stage in recipe.stages for step in (1, 2)]
    assert [axes.get_visible() for axes in loss_figure(rows, recipe).axes] == [True] * 4 + [False] * 2
    plot_loss(rows, recipe, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.glob("loss*")] == ["loss.png"]
