"""Compiled layers train as eager ones do, up to rounding."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_compiled_layers_train_as_eager_ones(tables: dict[str, Any], write_recipe: Write) -> None:
    del tables["model"]["config"]["attention_dropout"]
    for stage in tables["stage"]:
        stage |= {"steps": 4, "warmup_steps": 0, "micro_batch_size": 3, "lr": 1e-3}
    recipe, out = write_recipe(tables), Path(tables["out"])
    for name in ("true", "false"):
        list(run_recipe(load_recipe(recipe, [f"compile={name}", f"out={out / name}"])))
    for stage in ("full", "answer"):
        eager, compiled = (load_file(out / name / stage / "final" / "model.safetensors") for name in ("false", "true"))
        assert eager.keys() == compiled.keys()
        for key, weight in eager.items():
            torch.testing.assert_close(compiled[key], weight, rtol=1e-3, atol=2e-5, msg=key)


def test_a_cpu_without_a_compiler_is_refused_before_the_first_step(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SFTKeyError, match=r"needs a C\+\+ compiler on a CPU, found no no-such-compiler$"):
        list(run_recipe(load_recipe(write_recipe(tables), ["compile=true"])))
    assert not Path(tables["out"]).exists()


@pytest.mark.parametrize("option", [{"prune_last_layer": True}, {"context_gradient": False}], ids=str)
def test_layers_that_run_in_parts_are_not_compiled(option: Any, tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"][1] |= option
    with pytest.raises(SFTKeyError, match="stage 'answer': compile does not go with prune_last_layer and context"):
        load_recipe(write_recipe(tables), ["compile=true"])
