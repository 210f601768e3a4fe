"""The recipe file, its overrides, and the one line each mistake gets."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Recipe, Stage, Weights
from sftkey_train.recipe_file import load_recipe, recipe_text
from sftkey_train.recipe_tables import Lora, ModelSource

RECIPES = sorted((Path(__file__).resolve().parents[2] / "train" / "recipes").glob("*.toml"))
Write = Callable[[dict[str, Any]], Path]


def _change(tables: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    table: Any = tables
    for part in path:
        table = table[int(part)] if isinstance(table, list) else table[part]
    table[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("outt", "x", "unknown key 'outt' (did you mean 'out'?)"),
        ("output_dir", "x", "unknown key 'output_dir' (did you mean 'out'?)"),
        ("stage.1.lerning_rate", 1e-4, "stage 'answer': unknown key 'lerning_rate' (did you mean 'lr'?)"),
        ("stage.0.warmup_step", 3, "stage 'full': unknown key 'warmup_step' (did you mean 'warmup_steps'?)"),
        ("model.pth", "x", "model: unknown key 'pth' (did you mean 'path'?)"),
        ("seed", "one", "seed: Input should be a valid integer, unable to parse string as an integer, found 'one'"),
        ("stage.0.lr", 0, "stage 'full': lr: Input should be greater than 0, found 0"),
        ("stage.0.epochs", 2, "stage 'full': expected exactly one of 'steps' and 'epochs', found steps and epochs"),
        (
            "stage.0.warmup_ratio",
            0.1,
            "stage 'full': expected at most one of 'warmup_steps' and 'warmup_ratio', found both",
        ),
        (
            "stage.0.schedule",
            "cosin",
            "stage 'full': schedule: Input should be 'constant', 'linear', 'cosine' or 'wsd', found 'cosin'",
        ),
        ("stage.1.name", "full", "two stages are named 'full'"),
        (
            "stage.1.name",
            "a/b",
            "stage 'a/b': name: String should match pattern '^[A-Za-z][A-Za-z0-9_-]*$', found 'a/b'",
        ),
        ("stage.1.init_from", "ful", "stage 'answer': init_from 'ful' is not an earlier stage (did you mean 'full'?)"),
        ("stage.0.init_from", "answer", "stage 'full': init_from 'answer' is not an earlier stage; earlier: none"),
        ("model.path", "gpt2", "model: expected exactly one of 'path' and a table 'config'"),
        ("lora", {"rank": 8}, "lora: unknown key 'rank' (did you mean 'r'?)"),
        ("stage.0.best", "key_nll", "stage 'full': best, early_stopping and generate_every need a heldout set"),
        ("stage.0.generate_every", 5, "stage 'full': best, early_stopping and generate_every need a heldout set"),
        (
            "stage.0.best",
            "generated_key_match",
            "stage 'full': 'generated_key_match' is only measured with generate_every > 0",
        ),
        (
            "stage.0.early_stopping",
            {"metric": "key_nll", "patience": 0},
            "stage 'full': early_stopping: patience: Input should be greater than or equal to 1, found 0",
        ),
        ("stage", 3, "stage: expected [[stage]] tables, found 3"),
    ],
)
def test_a_mistake_is_one_line_that_names_table_key_and_nearest(
    tables: dict[str, Any], write_recipe: Write, place: str, value: Any, message: str
) -> None:
    _change(tables, place, value)
    path = write_recipe(tables) if place != "stage" else _without_stages(tables, write_recipe)
    with pytest.raises(SFTKeyError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}: {message}"


def _without_stages(tables: dict[str, Any], write: Write) -> Path:
    path = write({key: value for key, value in tables.items() if key != "stage"})
    path.write_text("stage = 3\n" + path.read_text())
    return path


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kye": 1}, "stage 'full': weights: unknown key 'kye' (did you mean 'key'?)"),
        ({"key": -1}, "stage 'full': weights: key: Input should be greater than or equal to 0, found -1"),
        ({"cot": 0}, "stage 'full': weights: all weights are zero, so the stage would train on nothing"),
    ],
)
def test_wrong_weights_are_refused(tables: dict[str, Any], write_recipe: Write, weights: Any, message: str) -> None:
    del tables["stage"][0]["loss_on"]
    tables["stage"][0]["weights"] = weights
    with pytest.raises(SFTKeyError) as caught:
        load_recipe(write_recipe(tables))
    assert str(caught.value).endswith(f": {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2**63}, "seed: Input should be less than 9223372036854775808, found 9223372036854775808"),
        ({"threads": 2**31}, "threads: Input should be less than 2147483648, found 2147483648"),
        ({"stage": [{"name": "a" * 101}]}, "name: String should have at most 100 characters, found 'aaaa"),
    ],
    ids=["seed", "threads", "name"],
)
def test_what_no_machine_takes_is_refused(
    tables: dict[str, Any], write_recipe: Write, change: dict[str, Any], message: str
) -> None:
    if "stage" in change:
        tables["stage"][0] |= change.pop("stage")[0]
    with pytest.raises(SFTKeyError, match=re.escape(message)):
        load_recipe(write_recipe(tables | change))


def _weighted(tables: dict[str, Any], options: dict[str, Any]) -> None:
    """Give the first stage weights and options of the loss."""
    del tables["stage"][0]["loss_on"]
    tables["stage"][0] |= {"weights": {"tag": 1.0, "key": 1.0}} | options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalisation": "tokn"}, "normalisation: Input should be 'token', 'example' or 'region', found 'tokn'"),
        ({"normalization": "token"}, "unknown key 'normalization' (did you mean 'normalisation'?)"),
        ({"token_loss": "dtf"}, "token_loss: Input should be 'nll', 'dft' or 'focal', found 'dtf'"),
        ({"focal_gamma": 2.0}, "focal_gamma is for token_loss = 'focal', found 'nll'"),
        ({"token_loss": "focal", "focal_gamma": 0}, "focal_gamma: Input should be greater than 0, found 0"),
        (
            {"weights": {"tag": 1}, "token_loss": "focal"},
            "token_loss = 'focal' weighs the tokens of the Key, but the weight of the Key is zero",
        ),
        ({"anchor": -1}, "anchor: Input should be greater than or equal to 0, found -1"),
        ({"placebo": "often"}, "placebo: Input should be a valid boolean, unable to interpret input, found 'often'"),
        ({"weights_end": {"kye": 1}}, "weights_end: unknown key 'kye' (did you mean 'key'?)"),
        ({"weights_end": {"cot": 0}}, "weights_end: all weights are zero, so the stage would train on nothing"),
        ({"weights_end": {"key": 9}}, "weight_schedule is 'constant', expected 'linear' or 'cosine'"),
        ({"weight_schedule": "linear"}, "weight_schedule is 'linear', expected none, or key 'weights_end'"),
        ({"weights": {"tag": 1}, "placebo": True}, "placebo moves the weight of the Key, but that is zero"),
        (
            {"weights": {"prompt": 2, "cot": 1, "tag": 1, "key": 1, "eos": 1}, "placebo": True},
            "placebo changes nothing, as every region of the completion weighs the same",
        ),
        (
            {"weights": {"cot": 1, "tag": 1, "key": 1}, "weights_end": {"eos": 1}, "weight_schedule": "linear"}
            | {"anchor": 0.1},
            "anchor has no token, as every region of the completion carries loss",
        ),
        (
            {"anchor": 0.1, "context_gradient": False},
            "anchor needs context_gradient = true: it holds the context, which has no gradient then",
        ),
    ],
)
def test_wrong_and_contradictory_options_of_the_loss_are_refused(
    tables: dict[str, Any], write_recipe: Write, options: dict[str, Any], message: str
) -> None:
    _weighted(tables, options)
    path = write_recipe(tables)
    with pytest.raises(SFTKeyError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}: stage 'full': {message}"


def test_a_region_with_weight_at_one_end_only_is_a_target_and_not_anchored(
    tables: dict[str, Any], write_recipe: Write
) -> None:
    options = {"weights_end": {"key": 2.0, "eos": 1.0}, "weight_schedule": "cosine", "anchor": 0.5}
    _weighted(tables, options)
    stage, other = load_recipe(write_recipe(tables)).stages
    assert stage.target_regions == ("tag", "key", "eos")
    assert stage.anchored_regions == ("cot",)
    assert (other.target_regions, other.anchored_regions) == (("tag", "key", "eos"), ())


@pytest.mark.parametrize(("given", "found"), [((), "neither"), (("loss_on", "weights"), "loss_on and weights")])
def test_a_stage_says_exactly_once_where_the_loss_is(
    tables: dict[str, Any], write_recipe: Write, given: tuple[str, ...], found: str
) -> None:
    del tables["stage"][0]["loss_on"]
    tables["stage"][0] |= {"loss_on": "key", "weights": {"key": 2.0}} if given else {}
    with pytest.raises(SFTKeyError, match=f"exactly one of 'loss_on' and 'weights', found {found}$"):
        load_recipe(write_recipe(tables))


@pytest.mark.parametrize("missing", ["data", "out", "model", "name"])
def test_a_missing_key_is_named(tables: dict[str, Any], write_recipe: Write, missing: str) -> None:
    del tables[missing]
    with pytest.raises(SFTKeyError, match=f"recipe.toml: key '{missing}' is missing$"):
        load_recipe(write_recipe(tables))


def test_a_key_missing_in_a_stage_is_named_with_the_stage(tables: dict[str, Any], write_recipe: Write) -> None:
    del tables["stage"][1]["lr"]
    with pytest.raises(SFTKeyError, match=r"recipe\.toml: stage 'answer': key 'lr' is missing$"):
        load_recipe(write_recipe(tables))


def test_set_changes_values_by_index_by_name_and_in_tables(tables: dict[str, Any], write_recipe: Write) -> None:
    overrides = ["stage.0.lr=1e-4", "stage.answer.steps=7", "seed=5", "out=runs/a b", "model.config.hidden_size = 64"]
    recipe = load_recipe(write_recipe(tables), overrides)
    assert recipe.stages[0].lr == 1e-4
    assert recipe.stages[1].steps == 7
    assert recipe.seed == 5
    assert recipe.out == Path("runs/a b")
    assert (recipe.model.config or {})["hidden_size"] == 64


def test_set_takes_a_table_of_weights(tables: dict[str, Any], write_recipe: Write) -> None:
    del tables["stage"][1]["loss_on"]
    recipe = load_recipe(
        write_recipe(tables), ["stage.answer.weights={cot = 1, key = 40}", "stage.answer.weights.eos=2"]
    )
    assert recipe.stages[1].region_weights == Weights(cot=1, key=40, eos=2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage.0.lr", "--set 'stage.0.lr': expected KEY=VALUE, for example stage.0.lr=1e-4"),
        ("stage.anwser.lr=1", "--set 'stage.anwser.lr=1': no stage 'anwser' (did you mean 'answer'?); known: "),
        ("stage.9.lr=1", "--set 'stage.9.lr=1': no stage '9'; known: full, answer, 0, 1"),
        ("seed.x.y=1", "--set 'seed.x.y=1': nothing lies below a value"),
        ("seed.x=1", "--set 'seed.x=1': 'seed' is not a table"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(
    tables: dict[str, Any], write_recipe: Write, override: str, message: str
) -> None:
    with pytest.raises(SFTKeyError) as caught:
        load_recipe(write_recipe(tables), [override])
    assert str(caught.value).startswith(message)


def test_a_misspelt_override_is_found_like_a_misspelt_key(tables: dict[str, Any], write_recipe: Write) -> None:
    with pytest.raises(SFTKeyError, match=r"stage 'answer': unknown key 'step' \(did you mean 'steps'\?\)$"):
        load_recipe(write_recipe(tables), ["stage.answer.step=3"])


def test_loss_on_names_the_regions_of_the_design() -> None:
    assert LOSS_ON_WEIGHTS["completion"] == Weights(prompt=0, cot=1, tag=1, key=1, eos=1)
    assert LOSS_ON_WEIGHTS["answer"] == Weights(prompt=0, cot=0, tag=1, key=1, eos=1)
    assert LOSS_ON_WEIGHTS["key"] == Weights(prompt=0, cot=0, tag=0, key=1, eos=0)


def test_the_resolved_recipe_reads_back_as_the_same_recipe(tables: dict[str, Any], write_recipe: Write) -> None:
    recipe = load_recipe(write_recipe(tables))
    assert Recipe.model_validate(recipe.resolved()) == recipe


def test_keys_that_came_later_are_in_no_record_until_they_are_used(tables: dict[str, Any], write_recipe: Write) -> None:
    """So that a run of an earlier version goes on, and a study finds what it has trained."""
    plain, changed = (load_recipe(write_recipe(tables), s) for s in ([], ["stage.answer.min_lr_ratio=0.1"]))
    assert set(Recipe.model_fields) - set(plain.resolved()) - {"stages"} == set(Recipe.later)
    for stage in plain.resolved()["stage"]:
        assert set(Stage.model_fields) - set(stage) == set(Stage.later)
    assert changed.resolved()["stage"][1]["min_lr_ratio"] == 0.1
    assert Recipe.model_validate(changed.resolved()) == changed


def test_a_stage_starts_from_the_one_before_unless_it_forks(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"].append({**tables["stage"][1], "name": "more", "init_from": "full"})
    tables["stage"].append({**tables["stage"][1], "name": "last"})
    recipe = load_recipe(write_recipe(tables))
    full, _, more, _ = recipe.stages
    assert [recipe.parent(stage) for stage in recipe.stages] == [None, full, full, more]
    assert [recipe.depth(stage) for stage in recipe.stages] == [0, 1, 1, 2]


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
