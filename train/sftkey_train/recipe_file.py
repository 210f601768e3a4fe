"""Recipe files: TOML with `--set` on top, and one line that names the table and the key where something is wrong."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftkey_data.config import load_toml
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_train.recipe import EarlyStopping, Recipe, Stage, Weights
from sftkey_train.recipe_tables import Lora, ModelSource, RecipeTable

READY_RECIPES = Path(__file__).parent / "recipes"
"""The recipes and studies that come with the package."""

# What other trainers call our keys, so that the hint finds them.
SYNONYMS = {
    "learning_rate": "lr",
    "max_lr": "lr",
    "attn_implementation": "attention",
    "full_determinism": "deterministic",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "micro_batch_size",
    "lr_scheduler_type": "schedule",
    "optim": "optimizer",
    "neftune_noise_alpha": "neftune_alpha",
    "min_lr_rate": "min_lr_ratio",
    "min_lr_factor": "min_lr_ratio",
    "normalization": "normalisation",
    "loss_type": "token_loss",
    "rank": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_dora": "dora",
    "load_in_4bit": "quantization",
    "output_dir": "out",
    "dataset": "data",
    "stages": "stage",
}
TABLES: Mapping[str, type[RecipeTable]] = {
    "stage": Stage,
    "model": ModelSource,
    "weights": Weights,
    "weights_end": Weights,
    "lora": Lora,
    "early_stopping": EarlyStopping,
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=VALUE` overrides.

    Raises:
        SFTKeyError: One line that names the file, the table and the key, with the nearest known key.
    """
    tables = load_tables(path, "recipe")
    for override in overrides:
        _apply(tables, override)
    return _checked(tables, str(path))


def load_tables(path: Path, what: str) -> dict[str, Any]:
    """The tables of a file that may be one of the ready ones.

    Raises:
        SFTKeyError: As of `load_toml`; of a file that is not there, with the ready one of its name, if there is one.
    """
    try:
        return load_toml(path, what)
    except SFTKeyError as error:
        ready = None if path.exists() else next(READY_RECIPES.rglob(path.name), None)
        if ready is None:
            raise
        raise SFTKeyError(f"{error}; the ready one of that name is {ready}") from None


def recipe_of(tables: Mapping[str, Any] | Path, settings: Mapping[str, Any]) -> Recipe:
    """A recipe of values: of a file or of its tables as a mapping, with keys changed as `{"stage.0.lr": 1e-4}`.

    Raises:
        SFTKeyError: As of `load_recipe`.
    """
    where = str(tables) if isinstance(tables, Path) else "recipe"
    own = load_toml(tables, "recipe") if isinstance(tables, Path) else deepcopy(dict(tables))
    for key, value in settings.items():
        _set(own, key, value, f"setting {key!r}")
    return _checked(own, where)


def _checked(tables: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise SFTKeyError(f"{where}: {_first_fault(error, tables)}") from None


def recipe_text(recipe: Recipe) -> str:
    """A recipe as the file that `load_recipe` reads to the same; what is at its default is not in it."""
    tables = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    stages = tables.pop("stage")
    values = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    for key, table in tables.items():
        lines += _section(key, table) if isinstance(table, dict) else ()
    for stage in stages:
        lines += ["", "[[stage]]", *(f"{key} = {_toml(value)}" for key, value in stage.items())]
    return "\n".join(lines) + "\n"


def _section(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    if len(inner) < len(table) or not table:
        yield from ("", f"[{name}]")
    yield from (f"{_key(key)} = {_toml(value)}" for key, value in table.items() if key not in inner)
    for key, value in inner.items():
        yield from _section(f"{name}.{_key(key)}", value)


def _toml(value: Any) -> str:
    """A value of JSON's types in TOML, which has no null."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # the one character that JSON leaves in a string and TOML does not


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _apply(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", key.strip()):
        raise SFTKeyError(f"--set {override!r}: expected KEY=VALUE, for example stage.0.lr=1e-4")
    _set(tables, key.strip(), _value(text), f"--set {override!r}")


def _set(tables: dict[str, Any], key: str, value: Any, said: str) -> None:
    """Change one key; `said` is what messages call it."""
    *path, last = key.split(".")
    table: Any = tables
    for part in path:
        table = _step_into(table, part, said)
    if not isinstance(table, dict):
        raise SFTKeyError(f"{said}: {'.'.join(path)!r} is not a table")
    table[last] = value


def _step_into(table: Any, part: str, said: str) -> Any:
    if isinstance(table, dict):
        return table.setdefault(part, {})
    if not isinstance(table, list):
        raise SFTKeyError(f"{said}: nothing lies below a value")
    by_name = {str(i): t for i, t in enumerate(table)}
    by_name = {str(t["name"]): t for t in table if isinstance(t, dict) and "name" in t} | by_name
    if part not in by_name:
        raise SFTKeyError(f"{said}: no stage {part!r}{nearest(part, by_name)}; known: {', '.join(by_name)}")
    return by_name[part]


def _value(text: str) -> Any:
    """`text` as TOML, or itself: `1e-4`, `true` and `{key = 1}` are values, `runs/a` is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _first_fault(error: ValidationError, tables: Mapping[str, Any]) -> str:
    # A misspelt key is reported as unknown, and its right name as missing: the first is what to mend.
    faults = error.errors()
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    if fault["type"] == "value_error":
        return f"{_place(fault['loc'], tables)}{fault['ctx']['error']}"
    where, key = _place(fault["loc"][:-1], tables), fault["loc"][-1]
    if fault["type"] == "extra_forbidden":
        return f"{where}unknown key {key!r}{_nearest_key(fault['loc'])}"
    if fault["type"] == "missing":
        return f"{where}key {key!r} is missing"
    expected = "expected [[stage]] tables" if fault["type"] == "tuple_type" and key == "stage" else fault["msg"]
    return f"{where}{key}: {expected}, found {fault['input']!r}"


def _place(location: tuple[int | str, ...], tables: Mapping[str, Any]) -> str:
    """`stage 'answer': weights: ` for `("stage", 1, "weights", "kye")`; a stage without a name goes by its index."""
    if len(location) > 1 and location[0] == "stage" and isinstance(location[1], int):
        name = tables["stage"][location[1]].get("name") if isinstance(tables["stage"][location[1]], dict) else None
        place = f"stage {location[1] if name is None else name!r}: "
        rest = location[2:]
    else:
        place, rest = "", location
    return place + "".join(f"{part}: " for part in rest if part in TABLES and part != "stage")


def _nearest_key(location: tuple[int | str, ...]) -> str:
    name = str(location[-1])
    kind = next((TABLES[str(part)] for part in reversed(location[:-1]) if str(part) in TABLES), Recipe)
    known = [field.alias or key for key, field in kind.model_fields.items()]
    synonym = difflib.get_close_matches(name, [s for s, key in SYNONYMS.items() if key in known], n=1, cutoff=0.8)
    hint = nearest(SYNONYMS[synonym[0]] if synonym else name, known)
    return hint or f"; known: {', '.join(known)}"
