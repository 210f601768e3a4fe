"""`deterministic = true`: set before a GPU is used, undone afterwards; what has no such kernel is named in a line."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_train import loop, recipe_run
from sftkey_train.loop import StageRun, train_stage
from sftkey_train.model.deterministic_kernels import (
    OF_FLASH_ATTENTION,
    SAME_BITS,
    WORKSPACE,
    deterministic_kernels,
    missing_kernels_named,
)

Write = Callable[[dict[str, Any]], Path]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
OF_THE_PROCESS = os.environ.get(WORKSPACE, "")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, "")  # so that it is put back, whatever a test leaves there
    monkeypatch.delenv(WORKSPACE)
    monkeypatch.delenv(OF_FLASH_ATTENTION, raising=False)


def _settings() -> tuple[Any, ...]:
    flags = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    return *flags, cudnn.deterministic, cudnn.benchmark, os.environ.get(OF_FLASH_ATTENTION)


def _assert_same(one: Path, other: Path) -> None:
    assert metric_rows(one) == metric_rows(other)
    weights, expected = final_weights(one), final_weights(other)
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


def test_on_a_cpu_it_changes_no_bit_and_stands_in_the_record(
    run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, before = [], _settings()

    def train(stage: StageRun, model: PreTrainedModel) -> None:
        seen.append(_settings())
        train_stage(stage, model)

    monkeypatch.setattr(recipe_run, "train_stage", train)
    plain, deterministic = run_with("plain"), run_with("deterministic", "deterministic=true")
    assert seen == [before] * 2 + [(True, False, True, False, "1")] * 2
    assert _settings() == before
    _assert_same(deterministic, plain)
    records = [read_sealed(out / "run.json", "")["recipe"].get("deterministic") for out in (plain, deterministic)]
    assert records == [None, True]  # as runs begun before there was the option have none
    with pytest.raises(SFTKeyError, match=r"recipe\.deterministic was true, now null; --overwrite starts anew"):
        run_with("deterministic")


def test_a_stopped_run_goes_on_to_the_same_bits(
    device: torch.device, run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cuda":  # earlier tests have used it, and cuBLAS has read this then
        if OF_THE_PROCESS not in SAME_BITS:
            pytest.skip(f"needs {WORKSPACE}={SAME_BITS[0]} from the beginning, as `make gpu-test` has it")
        monkeypatch.setenv(WORKSPACE, OF_THE_PROCESS)
    options = ("deterministic=true", f"device={device.type}")
    clip, calls, before = loop.clip_gradients, iter(range(1, 1000)), _settings()

    def clip_and_signal(*arguments: Any) -> Tensor:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return clip(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "clip_gradients", clip_and_signal)
        with pytest.raises(Stopped):
            run_with("stopped", *options)
    assert _settings() == before
    _assert_same(run_with("stopped", *options), run_with("whole", *options))


def _put(_module: Any, _inputs: Any, hidden: Tensor) -> Tensor:
    """An operation that torch has no deterministic kernel of, on a CPU neither."""
    return hidden.put_(torch.zeros(1, dtype=torch.long), hidden.new_zeros(1))


def test_an_operation_without_such_a_kernel_is_refused_by_its_name(
    run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _settings()

    def train(stage: StageRun, model: PreTrainedModel) -> None:
        model.get_input_embeddings().register_forward_hook(lambda *hook: _put(*hook[:2], hook[2].clone()))
        train_stage(stage, model)

    monkeypatch.setattr(recipe_run, "train_stage", train)
    with pytest.raises(SFTKeyError) as caught:
        run_with("refused", "deterministic=true")
    line = "deterministic = true: torch has no deterministic kernel of put_; leave the option out, or what needs this"
    assert str(caught.value) == f"{line} operation"
    assert _settings() == before
    assert (run_with("plain") / "answer" / "final").is_dir()


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="must match the size"), missing_kernels_named():
        torch.zeros(2) + torch.zeros(3)


def test_a_gpu_is_told_before_it_is_used() -> None:
    with deterministic_kernels(GPU, when=True):
        assert os.environ[WORKSPACE] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[WORKSPACE] == ":4096:8"  # cuBLAS has read it, and would not look again
    with deterministic_kernels(GPU, when=True):
        pass
    os.environ[WORKSPACE] = ":16:8"
    with deterministic_kernels(GPU, when=True):
        assert os.environ[WORKSPACE] == ":16:8"


def test_a_setting_with_which_it_could_not_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":0:0")
    line = "deterministic = true needs CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8, found ':0:0'$"
    with pytest.raises(SFTKeyError, match=line), deterministic_kernels(GPU, when=True):
        pass
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv(WORKSPACE)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    line = "a GPU was used before in this process, expected CUBLAS_WORKSPACE_CONFIG=:4096:8 from its beginning$"
    with pytest.raises(SFTKeyError, match=line), deterministic_kernels(GPU, when=True):
        pass


def test_without_it_nothing_is_set() -> None:
    before = _settings()
    with deterministic_kernels(GPU, when=False):
        assert _settings() == before
    assert WORKSPACE not in os.environ


def test_on_a_cpu_cublas_is_left_alone() -> None:
    with deterministic_kernels(CPU, when=True):
        assert WORKSPACE not in os.environ
