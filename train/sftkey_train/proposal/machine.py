"""What a training has on this machine: a device, its memory, and its speed at matrix products."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from sftkey_data.process_pool import cores

# Where a container's limit stands, of cgroups version 2 and 1; without one it is `max` or a number beyond any machine.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class TrainingMachine:
    """The device that a run with `device = "auto"` takes here; memory in bytes, speed in FLOP/s."""

    name: str
    memory: int
    precision: Literal["fp32", "bf16"]
    flops: float


def this_machine() -> TrainingMachine:
    """The first GPU where torch sees one, else the CPU; its speed is timed, which takes a moment.

    The speed is that of a machine that does nothing else: what others take of it now says nothing about the hours of a
    training.
    """
    if not torch.cuda.is_available():
        return TrainingMachine(f"{cores()} cores, no GPU", _main_memory(), "fp32", _cpu_flops())
    device = torch.device("cuda", 0)
    found = torch.cuda.get_device_properties(device)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    kind = torch.bfloat16 if has_bf16 else torch.float32
    speed = _product_flops(torch.ones(8192, 8192, dtype=kind, device=device), time.perf_counter)
    return TrainingMachine(found.name, found.total_memory, "bf16" if has_bf16 else "fp32", speed)


def _main_memory() -> int:
    limits = [path.read_text().strip() for path in _LIMITS if path.is_file()]
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([there, *(int(limit) for limit in limits if limit.isdecimal())])


def _cpu_flops() -> float:
    """FLOP/s of all threads that torch takes, from the CPU time of one.

    A clock on the wall would count the waiting for a core that another program has; so would the CPU time of several
    threads, as those that are done spin until the last is.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return threads * _product_flops(torch.ones(1024, 1024), time.thread_time)
    finally:
        torch.set_num_threads(threads)


def _product_flops(matrix: torch.Tensor, clock: Callable[[], float]) -> float:
    """FLOP/s of a product of a square matrix with itself, the fastest of a few."""
    seconds = []
    for _ in range(_REPEATS + 1):  # the first warms up
        begin = clock()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        seconds.append(clock() - begin)
    return 2 * matrix.shape[0] ** 3 / min(seconds[1:])
