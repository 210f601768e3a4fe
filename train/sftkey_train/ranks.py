"""Several processes train one model: each takes its share of every global batch, and the gradients are added up.

Started by `torchrun --nproc-per-node 2 -m sftkey_train.cli run RECIPE`. All here is the identity in a single process,
so the loop reads the same. Gradients are summed, not averaged: every rank divides by the weight of the *global* batch,
which it learns before its backward passes, so ranks with few Key tokens and ranks with many count token by token.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import Tensor, distributed

from sftkey_data.errors import SFTKeyError, Stopped

T = TypeVar("T")


@contextmanager
def process_group(*, cuda: bool) -> Iterator[None]:
    """Join the processes that torchrun has started; nothing happens where there is one.

    Raises:
        SFTKeyError: There are more processes than GPUs; else as inside, with the number of the rank for all but the
            first, so that each line says whose it is.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    if cuda:
        local_rank, num_devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= num_devices:
            raise SFTKeyError(f"torchrun started process {local_rank} of this node, which has {num_devices} GPUs")
        torch.cuda.set_device(local_rank)
    # NCCL sums the gradients; `total`, `greatest` and `gather` hand around what lies on the CPU, which it cannot send.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield
    except Stopped as stopped:
        raise stopped if is_main() else Stopped("", stopped.code) from None  # the first says it for all
    except SFTKeyError as error:
        raise error if is_main() else SFTKeyError(f"rank {rank()}: {error}") from None
    finally:
        distributed.destroy_process_group()


def own_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """What this process computes on: the GPU that torchrun gives it where torch sees one and `cpu` is not asked for."""
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def rank() -> int:
    """The number of this process, 0 for the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def num_ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def wait() -> None:
    """Go on when every rank has come here, so that what the first has written is there for all."""
    total(0.0)  # a sum is there only when every rank has given its part


def share(items: Sequence[T]) -> Sequence[T]:
    """This rank's items; none where there are fewer items than ranks. Of five, 2 ranks get 0, 2, 4 and 1, 3."""
    return items[rank() :: num_ranks()]


def total(value: float) -> float:
    """The sum of a number over all ranks, in double precision."""
    return float(add_up(torch.tensor(value, dtype=torch.float64)))


def add_up(values: Tensor) -> Tensor:
    """Replace a tensor by its sum over all ranks; all get the same bits."""
    if num_ranks() > 1:
        distributed.all_reduce(values)
    return values


def greatest(value: int) -> int:
    """The greatest of the numbers that the ranks have."""
    greatest = torch.tensor(value)
    if num_ranks() > 1:
        distributed.all_reduce(greatest, op=distributed.ReduceOp.MAX)
    return int(greatest)


def gather(value: T) -> list[T]:
    """What each rank holds, in the order of the ranks, on all of them."""
    if num_ranks() == 1:
        return [value]
    values: list[T | None] = [None] * num_ranks()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # every entry was filled
