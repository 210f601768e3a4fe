"""A recipe written as a file, which must load to the same."""

from pathlib import Path

import pytest

from sftkey_train.recipe import Lora, ModelSource, Recipe
from sftkey_train.recipe_file import load_recipe, recipe_text

RECIPES = sorted((Path(__file__).resolve().parents[2] / "train" / "recipes").glob("*.toml"))


def _again(recipe: Recipe, path: Path) -> Recipe:
    path.write_text(recipe_text(recipe), encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_what_is_written_of_a_recipe_loads_to_the_same(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert _again(recipe, tmp_path / "again.toml") == recipe
    assert len(recipe_text(recipe).splitlines()) <= len(path.read_text().splitlines())


def test_names_that_toml_must_quote_come_back(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES[0])
    config = {"model_type": "llama", "rope scaling": {"": 1.5, 'a"b': [True, {"é": "x\x7f\\\n"}]}}
    changed = {"name": 'it\'s "mine"\t𝄞', "lora": Lora(), "model": ModelSource(config=config)}
    hostile = recipe.model_copy(update=changed)
    again = _again(hostile, tmp_path / "again.toml")
    assert (again.name, again.lora, again.model.config) == (hostile.name, Lora(), config)
