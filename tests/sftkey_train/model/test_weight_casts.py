"""Under autocast a weight is cast once a step, and what comes out is what casts in each forward pass give."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, train
from torch.utils._python_dispatch import TorchDispatchMode

from sftkey_train import loop


class _Casts(TorchDispatchMode):
    """How many matrices of (48, 32), of which the model has two a layer, were cast to bf16 while open."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].shape == (48, 32):
            self.num += result.dtype == torch.bfloat16
        return result


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_weight_is_cast_once_a_step_to_the_same_bits(
    recomputed: bool,
    tables: dict[str, Any],
    write_recipe: Callable[[dict[str, Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = tables["stage"][0] | {"steps": 2, "micro_batch_size": 3}  # three passes of 8 examples
    tables |= {"precision": "bf16", "gradient_checkpointing": recomputed, "stage": [stage]}
    recipe, out, counted = write_recipe(tables), Path(tables["out"]), list[int]()
    for name in ("kept", "each"):
        with _Casts() as casts:
            train(recipe, [f"out={out / name}"])
        counted.append(casts.num)
        monkeypatch.setattr(loop, "casts_kept", lambda _: nullcontext())
    kept, each = counted
    steps, layers, saved_passes = 2, 2, 0 if recomputed else 2
    assert each - kept == steps * layers * 2 * saved_passes
    weights, others = (final_weights(out / name) for name in ("kept", "each"))
    assert [name for name, weight in weights.items() if not torch.equal(weight, others[name])] == []
