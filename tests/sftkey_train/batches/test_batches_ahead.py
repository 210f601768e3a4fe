"""Batches made ahead in a thread are those made in their turn; whatever ends the block, the thread ends with it."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import final_weights, metric_rows
from torch import Tensor

from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_data.prepared.shards import open_shards
from sftkey_train import loop
from sftkey_train.batches import batches_ahead
from sftkey_train.batches.batch import Batch, ExampleOrder, collate
from sftkey_train.batches.batches_ahead import STEPS_AHEAD, made_ahead
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.recipe import LOSS_ON_WEIGHTS

Write = Callable[[dict[str, Any]], Path]
CPU = torch.device("cpu")
PATIENCE_SECONDS = 60
SHARD = "data-00000.arrow"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert _threads() == []


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """All batches that are trained on, as they are weighed."""
    batches: list[Batch] = []
    weigh = loop.weighted_batches

    def weighted(*arguments: Any) -> list[Batch]:
        batches.extend(made := weigh(*arguments))
        return made

    monkeypatch.setattr(loop, "weighted_batches", weighted)
    return batches


def _assert_same(one: Path, other: Path) -> None:
    assert metric_rows(one) == metric_rows(other)
    weights, expected = final_weights(one), final_weights(other)
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


def _assert_same_batches(batches: list[Batch], expected: list[Batch]) -> None:
    for batch, other in zip(batches, expected, strict=True):
        for name in Batch.__slots__:
            value, same = getattr(batch, name), getattr(other, name)
            assert torch.equal(value, same) if isinstance(same, Tensor) else value == same, name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 300, "packing": "on", "weights": {"cot": 1.0, "key": 3.0}, "anchor": 0.5},
        {
            "micro_batch_size": 3,
            "placebo": True,
            "weights": {"key": 3.0},
            "weights_end": {"cot": 1.0},
            "weight_schedule": "linear",
        },
    ],
    ids=["plain", "packed-anchor", "split-placebo-schedule"],
)
def test_batches_metrics_and_weights_are_those_of_batches_made_in_their_turn(
    options: dict[str, Any],
    tables: dict[str, Any],
    run_with: Callable[..., Path],
    seen: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "weights" in options:
        del tables["stage"][0]["loss_on"]
    tables["stage"] = [tables["stage"][0] | options | {"gradient_share_every": 2}]
    ahead, batches = run_with("ahead"), list(seen)
    assert batches
    seen.clear()
    monkeypatch.setattr(batches_ahead, "STEPS_AHEAD", 0)
    _assert_same(ahead, run_with("in-turn"))
    _assert_same_batches(batches, seen)


def test_the_batches_of_the_next_step_are_made_while_a_step_runs(
    tables: dict[str, Any], run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"] = [tables["stage"][0]]
    made = [threading.Event() for _ in range(8)]
    collate_step, clip, calls, waited = loop.collated_batches, loop.clip_gradients, iter(range(1, 7)), []

    def collated(*arguments: Any, **how: Any) -> list[Batch]:
        batches = collate_step(*arguments, **how)
        next(event for event in made if not event.is_set()).set()
        return batches

    def clipped(*arguments: Any) -> Tensor:  # in the middle of a step, which goes on when the next is there
        waited.append(made[min(next(calls), 5)].wait(PATIENCE_SECONDS))
        return clip(*arguments)

    monkeypatch.setattr(loop, "collated_batches", collated)
    monkeypatch.setattr(loop, "clip_gradients", clipped)
    run_with("run")
    assert waited == [True] * 6


def test_a_stopped_run_goes_on_to_the_bits_of_one_whose_batches_are_made_in_their_turn(
    run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, calls = loop.clip_gradients, iter(range(1, 1000))

    def clip_and_signal(*arguments: Any) -> Tensor:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return clip(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "clip_gradients", clip_and_signal)
        with pytest.raises(Stopped, match="stage 'full' is saved after step 3, "):
            run_with("stopped")
    assert _threads() == []
    stopped = run_with("stopped")
    monkeypatch.setattr(batches_ahead, "STEPS_AHEAD", 0)
    _assert_same(stopped, run_with("whole"))


def test_a_second_signal_ends_the_thread_too(run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_at_once(*_: Any) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop, "clip_gradients", stop_at_once)
    with pytest.raises(Stopped, match="nothing of stage 'full' is saved"):
        run_with("run")


def _shorten_in_place(data: Path, index: int) -> None:
    """Take a token from one example of a shard that is open, and give it to the next."""
    offsets = open_shards(data)["input_ids"].chunk(0).buffers()[1].to_pybytes()
    content = (data / SHARD).read_bytes()
    assert content.count(offsets) == 1
    place = content.index(offsets) + 4 * (index + 1)
    (offset,) = np.frombuffer(content[place : place + 4], np.int32)
    with (data / SHARD).open("r+b") as file:
        file.seek(place)
        file.write(np.int32(offset - 1).tobytes())


@pytest.mark.parametrize("ahead", [STEPS_AHEAD, 0])
def test_a_shard_that_changes_meanwhile_is_one_line_at_the_step_that_needs_it(
    ahead: int, tables: dict[str, Any], run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = tmp_path / "copy"
    shutil.copytree(tables["data"], data)
    tables |= {"data": str(data), "stage": [tables["stage"][0] | {"save_every": 0}]}
    order = ExampleOrder(3, 0, len(open_shards(data)), 8, 48)
    early = {i for step in range(1, 6) for i in order.batch(step)}
    index = next(i for i in order.batch(6) if not early & {i, i + 1} and i + 1 < order.num_examples)
    clip, calls = loop.clip_gradients, iter(range(1, 1000))

    def clip_and_change(*arguments: Any) -> Tensor:
        if next(calls) == 2:
            _shorten_in_place(data, index)
        return clip(*arguments)

    monkeypatch.setattr(loop, "clip_gradients", clip_and_change)
    monkeypatch.setattr(batches_ahead, "STEPS_AHEAD", ahead)
    with pytest.raises(
        SFTKeyError, match=r"^example 'gsm8k/.*': its shard has changed: \d+ tokens where there were \d+ "
    ):
        run_with("run")
    assert [row["step"] for row in metric_rows(Path(tables["out"]) / "run")] == [1, 2, 3, 4, 5]


def test_no_more_than_a_few_steps_are_made_ahead() -> None:
    begun, third = list[int](), threading.Event()

    def make(step: int) -> int:
        begun.append(step)
        if step == 1 + STEPS_AHEAD:
            third.set()
        return step

    with made_ahead(make, range(1, 10), CPU) as made:
        assert begun == []  # nothing is made that nobody may ask for
        assert next(made) == 1
        assert third.wait(PATIENCE_SECONDS)
        assert not threading.Event().wait(0.05)  # time enough to make one more
        assert begun == [1, 2, 3]
        assert list(made) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert begun == list(range(1, 10))


def test_what_is_raised_while_making_is_raised_when_its_step_is_asked_for() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise SFTKeyError(f"step {step} in {threading.current_thread().name}")
        return step

    taken = list[int]()
    with pytest.raises(SFTKeyError, match=r"^step 2 in batches_0$"), made_ahead(make, range(1, 5), CPU) as made:
        taken.extend(made)
    assert taken == [1]


def test_a_batch_is_pinned_before_it_is_copied_to_a_gpu(prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls, as memory can be pinned only where there is a GPU."""
    batch, calls = collate(prepared.examples.first(2), LOSS_ON_WEIGHTS["completion"]), list[str]()
    num = sum(isinstance(getattr(batch, name), Tensor) for name in Batch.__slots__)

    def copied(tensor: Tensor, device: torch.device, *, non_blocking: bool) -> Tensor:
        calls.append(f"{device.type} {non_blocking}")
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: calls.append("pin") or tensor.clone())
    monkeypatch.setattr(Tensor, "to", copied)
    batch.to(torch.device("cuda", 0))
    assert calls == ["pin"] * num + ["cuda True"] * num
    calls.clear()
    assert batch.pinned_for(CPU) is batch
    batch.to(CPU)
    assert calls == ["cpu True"] * num
