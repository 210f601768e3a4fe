"""Gradients summed over the ranks, a bucket at a time: what is ready is on its way while the backward pass goes on."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, distributed

from sftkey_train import ranks
from sftkey_train.model.sharding import is_sharded, sum_next_gradients

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# 32 MiB in fp32: far fewer messages than one per tensor, and the first is on its way soon after the last layer is done.
BUCKET_ELEMENTS = 1 << 23
# Buckets that are on their way or have come back: no second copy of all gradients.
AT_ONCE = 2


class _Bucket(NamedTuple):
    parameters: Sequence[Tensor]
    flat: Tensor  # their gradients one after the other
    sending: Any  # to wait for


class GradientSums:
    """Replaces the gradient of every parameter by its sum over all ranks, with `finish` at the end of each step.

    All ranks send the same buckets in the same order, the last parameters first, as their gradients are ready first. A
    rank without an example has no gradients and adds zeros. A parameter without a gradient on every rank keeps none:
    AdamW decays and moves one with a gradient of zero, and leaves one without alone. FSDP sums its shares itself in
    each backward pass, or in the last of a step alone; a single rank has nothing to do.
    """

    def __init__(self, model: "PreTrainedModel", *, once: bool = False) -> None:
        self._summed_once = model if once and is_sharded(model) else None
        alone = ranks.num_ranks() == 1 or is_sharded(model)
        trained = [] if alone else [p for p in model.parameters() if p.requires_grad][::-1]
        self._buckets = list(_buckets(trained))
        self._bucket_of = {p: number for number, bucket in enumerate(self._buckets) for p in bucket}
        self._hooks = [p.register_post_accumulate_grad_hook(self._ready) for p in trained]
        self._passes, self._sends, self._on_their_way = 0, False, deque[_Bucket]()
        self._missing, self._next = self._all(), 0

    def _all(self) -> list[int]:
        return [len(bucket) for bucket in self._buckets]

    def expect(self, num_passes: int) -> None:
        """Say how many backward passes a step has, before the first of them."""
        self._passes = num_passes

    def backward(self, loss: Tensor) -> None:
        """One backward pass; in the last of a step gradients are sent as they are ready."""
        self._passes -= 1
        self._sends = self._passes == 0
        if self._summed_once is not None:
            sum_next_gradients(self._summed_once, when=self._sends)
        loss.backward()
        self._sends = False

    def _ready(self, parameter: Tensor) -> None:
        if not self._sends:
            return
        self._missing[self._bucket_of[parameter]] -= 1
        while self._next < len(self._buckets) and not self._missing[self._next]:
            self._send()

    def _send(self) -> None:
        if len(self._on_their_way) == AT_ONCE:
            self._take_back()
        parameters = self._buckets[self._next]
        self._next += 1
        flat = torch.cat([torch.zeros_like(p.flatten()) if p.grad is None else p.grad.flatten() for p in parameters])
        self._on_their_way.append(_Bucket(parameters, flat, distributed.all_reduce(flat, async_op=True)))

    @torch.no_grad()
    def _take_back(self) -> None:
        parameters, flat, sending = self._on_their_way.popleft()
        sending.wait()
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(summed.view_as(parameter))

    def finish(self) -> None:
        """Send what is left, and wait until all sums are there."""
        if not self._buckets:
            return
        trained = list(self._bucket_of)
        used = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
        while self._next < len(self._buckets):
            self._send()
        while self._on_their_way:
            self._take_back()
        # Last, as some ranks have sent buckets before and others none.
        distributed.all_reduce(used, op=distributed.ReduceOp.MAX)
        for parameter, anywhere in zip(trained, used.tolist(), strict=True):
            if not anywhere:
                parameter.grad = None
        self._missing, self._next = self._all(), 0

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()


@contextmanager
def gradient_sums(model: "PreTrainedModel", *, once: bool = False) -> Iterator[GradientSums]:
    """While open, gradients of the model can be summed over the ranks; with FSDP and `once`, once a step."""
    sums = GradientSums(model, once=once)
    try:
        yield sums
    finally:
        sums.close()


def sum_gradients(model: "PreTrainedModel") -> None:
    """Sum gradients that are there already."""
    with gradient_sums(model) as sums:
        sums.finish()


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    # Of one type each, as `cat` would convert; the same on all ranks, which have the same parameters in this order.
    bucket: list[Tensor] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_ELEMENTS
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
