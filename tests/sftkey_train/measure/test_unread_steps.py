"""Between two looks at a run nothing waits for the device, and a step that is not finite changes no weight."""

import math
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train import loop, recipe_run
from sftkey_train.loop import StageRun, train_stage
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.model.optimizer import build_optimizer, step_if
from sftkey_train.recipe import Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
STAGE = {"name": "s", "loss_on": "answer", "steps": 1, "batch_size": 8, "lr": 0.1}
WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
"""Operations that need numbers of the device on the host: what `float`, `bool` and `item` end in."""
COPIES = {Tensor.tolist, Tensor.cpu, Tensor.numpy}
"""Methods that do, and that are no operation on a CPU."""
ON_THE_HOST = {"weighted_batches", "num_inputs", "step_work", "greatest", "total"}
"""Functions of ours whose tensors lie on the host also where the model is on a GPU."""
OF_TRANSFORMERS = {"find_packed_sequence_indices"}
"""Waits once in each forward pass, and has no way around it."""


class _Operations(TorchDispatchMode):
    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS:
            self.count()
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in COPIES:
            self.count()
        return func(*args, **(kwargs or {}))


@contextmanager
def _told_by_cuda(count: Callable[[], None]) -> Iterator[None]:
    """CUDA itself says when the host waits for it."""

    def shown(message: Any, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            count()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = shown
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


class _Waits:
    """Counts what waits for a GPU: on one as CUDA has it, on a CPU what would."""

    def __init__(self, device: torch.device) -> None:
        self.num, self._device = 0, device

    def _count(self) -> None:
        callers = {frame.name for frame in traceback.extract_stack()}
        self.num += not callers & (ON_THE_HOST | OF_TRANSFORMERS)

    @contextmanager
    def seen(self) -> Iterator[None]:
        if self._device.type == "cuda":
            with _told_by_cuda(self._count):
                yield
            return
        with _Operations(self._count), _Methods(self._count):
            yield


@pytest.fixture
def waits_by_step(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often each step of a stage waits, from the weighing of its batches to that of the next."""
    counts: list[int] = []
    waits = _Waits(device)
    weigh, train = loop.weighted_batches, recipe_run.train_stage

    def weighted(*args: Any) -> Any:
        counts.append(waits.num)
        return weigh(*args)

    def watched(run: StageRun, model: PreTrainedModel) -> None:
        with waits.seen():
            train(run, model)
        counts.append(waits.num)
        counts[:] = [later - before for before, later in pairwise(counts)]

    monkeypatch.setattr(loop, "weighted_batches", weighted)
    monkeypatch.setattr(recipe_run, "train_stage", watched)
    return counts


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch_size": 3}, {"max_tokens": 300, "packing": "off"}, {"normalisation": "region"}],
    ids=["plain", "split", "padded", "regions"],
)
def test_a_step_that_nobody_looks_at_does_not_wait_for_the_device(
    changes: dict[str, Any],
    device: torch.device,
    tables: dict[str, Any],
    write_recipe: Write,
    waits_by_step: list[int],
) -> None:
    tables["stage"] = [tables["stage"][0] | {"save_every": 0, "log_every": 3} | changes]
    list(run_recipe(load_recipe(write_recipe(tables), [f"device={device.type}"])))
    assert [bool(num) for num in waits_by_step] == [False, False, True, False, False, True]


def _poison(model: PreTrainedModel, step: int, calls: Iterator[int]) -> Callable[..., Tensor]:
    clip = loop.clip_gradients

    def poisoned(*args: Any) -> Tensor:
        if next(calls) == step:
            next(p.grad for p in model.parameters() if p.grad is not None).view(-1)[0] = math.nan
        return clip(*args)

    return poisoned


@contextmanager
def _kept(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[list[dict[str, Tensor]]]:
    """The weights before each step and those at the end; one gradient of `step` is not a number."""
    kept: list[dict[str, Tensor]] = []
    step_if_before = loop.step_if

    def train(run: StageRun, model: PreTrainedModel) -> None:
        def stepped(*args: Any) -> None:
            kept.append({name: p.detach().clone() for name, p in model.named_parameters()})
            step_if_before(*args)

        monkeypatch.setattr(loop, "step_if", stepped)
        monkeypatch.setattr(loop, "clip_gradients", _poison(model, step, iter(range(1, 100))))
        try:
            train_stage(run, model)
        finally:
            kept.append({name: p.detach().clone() for name, p in model.named_parameters()})

    monkeypatch.setattr(recipe_run, "train_stage", train)
    yield kept


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_weights_are_those_before_the_first_step_that_is_not_finite_however_late_it_is_read(
    optimizer: str, tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"] = [tables["stage"][0] | {"log_every": 6, "save_every": 0, "optimizer": optimizer}]
    line = "^stage 'full' step 3: gradient norm is nan, stopped before the optimizer step; examples: gsm8k/"
    with _kept(monkeypatch, 3) as kept, pytest.raises(SFTKeyError, match=line):
        list(run_recipe(load_recipe(write_recipe(tables))))
    assert len(kept) == 7  # six steps, and the end
    assert any(not torch.equal(kept[2][name], kept[1][name]) for name in kept[0])
    for name, weight in kept[2].items():
        assert torch.equal(kept[-1][name], weight)
    assert MetricsLog(Path(tables["out"]) / "metrics.jsonl").rows() == []


def test_nothing_is_saved_of_a_step_that_is_not_finite(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"] = [tables["stage"][0] | {"log_every": 6, "save_every": 2}]
    with _kept(monkeypatch, 3), pytest.raises(SFTKeyError, match="step 3: gradient norm is nan"):
        list(run_recipe(load_recipe(write_recipe(tables))))
    assert [path.name for path in (Path(tables["out"]) / "full").iterdir()] == ["checkpoint-2"]


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_a_step_that_may_be_taken_is_that_of_the_optimizer(optimizer: str, tiny_model: Callable[..., Any]) -> None:
    stage, weights = Stage.model_validate(STAGE | {"optimizer": optimizer}), []
    for guarded in (False, True):
        model = tiny_model("llama")
        own = build_optimizer(model, stage)
        for may in (True, False, True) if guarded else (True, True):
            for parameter in model.parameters():
                parameter.grad = torch.sin(parameter.detach() * 100)
            if guarded:
                step_if(torch.tensor(may), own)
            else:
                own.step()
        weights.append(list(model.parameters()))
    for plain, other in zip(*weights, strict=True):
        assert torch.equal(plain, other)
