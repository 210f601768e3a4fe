"""What a training has on this machine: a device, its memory, and its speed at matrix products."""

import os
import time
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
    """The first GPU where torch sees one, else the CPU; its speed is timed, which takes a moment."""
    if not torch.cuda.is_available():
        name = f"{cores()} cores, no GPU"
        return TrainingMachine(name, _main_memory(), "fp32", _timed(torch.device("cpu"), torch.float32, 1024))
    device = torch.device("cuda", 0)
    found = torch.cuda.get_device_properties(device)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    kind = torch.bfloat16 if has_bf16 else torch.float32
    return TrainingMachine(found.name, found.total_memory, "bf16" if has_bf16 else "fp32", _timed(device, kind, 8192))


def _main_memory() -> int:
    limits = [path.read_text().strip() for path in _LIMITS if path.is_file()]
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([there, *(int(limit) for limit in limits if limit.isdecimal())])


def _timed(device: torch.device, kind: torch.dtype, size: int) -> float:
    """FLOP/s of a product of two square matrices, the fastest of a few."""
    matrix = torch.ones(size, size, dtype=kind, device=device)
    seconds = []
    for _ in range(_REPEATS + 1):  # the first warms up
        begin = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds[1:])
