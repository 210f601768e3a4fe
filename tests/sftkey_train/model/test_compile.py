"""Compiled layers train as eager ones do, up to rounding."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch._dynamo.utils import counters

from sftkey_data.errors import SFTKeyError
from sftkey_train import loop
from sftkey_train.batches.batch import Batch
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


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["on", "off"])
def test_after_the_first_steps_no_shape_of_a_row_is_compiled_anew(
    packing: str, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled anew is decided before any kernel is made, so none is made here: that is for the test above."""
    shapes, graphs = list[tuple[int, ...]](), list[int]()
    weigh, compile_module = loop.weighted_batches, nn.Module.compile

    def weighted(*arguments: Any) -> list[Batch]:
        graphs.append(counters["stats"]["unique_graphs"])
        batches = weigh(*arguments)
        shapes.extend(tuple(batch.input_ids.shape) for batch in batches)
        return batches

    def compiled_module(module: nn.Module, **how: Any) -> None:
        compile_module(module, backend="aot_eager", **how)

    monkeypatch.setattr(loop, "weighted_batches", weighted)
    monkeypatch.setattr(nn.Module, "compile", compiled_module)
    del tables["model"]["config"]["attention_dropout"]
    # In bf16 what is tried before the first step is tried in fp32 too.
    tables |= {"heldout": tables["data"], "heldout_examples": 4, "precision": "bf16"}
    # 11 examples of which a row holds five: one of them is alone in a row.
    passes = {"batch_size": 11, "max_tokens": 470, "packing": packing, "steps": 12, "save_every": 0, "lr": 1e-3}
    at_end = {"generate_at_end": True, "generate_examples": 2, "generate_max_new_tokens": 4}
    tables["stage"] = [tables["stage"][0] | passes | at_end]
    recipe, out = write_recipe(tables), Path(tables["out"])
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # what comes then would run uncompiled
        for name in ("false", "true"):
            torch._dynamo.reset()
            counters.clear()
            list(run_recipe(load_recipe(recipe, [f"compile={name}", f"out={out / name}"])))
    eagerly, steps = graphs[:12], graphs[12:]
    assert set(eagerly) == {0}
    assert 0 < steps[0] < steps[2] == steps[-1]
    num, seen = len(shapes) // 24, shapes[: len(shapes) // 2]
    assert len(set(seen[3 * num :]) - set(seen[: 2 * num])) >= 3  # some are new behind the step that compiled last
    eager, compiled = (load_file(out / name / "full" / "final" / "model.safetensors") for name in ("false", "true"))
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
