"""What comes next is made in a thread while a step runs: a few steps ahead, in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

T = TypeVar("T")
STEPS_AHEAD = 2
"""How many steps' batches are made or in the making at most, beside that of the step that runs."""


@contextmanager
def made_ahead(make: Callable[[int], T], steps: Iterable[int], device: torch.device) -> Iterator[Iterator[T]]:
    """While open, gives `make(step)` for each step in order; those of the next steps are made meanwhile.

    `make` runs in one thread of its own, which ends with the block, however it ends. What `make` raises is raised here
    when its step is asked for. It must not talk to other ranks: how far ahead it is differs between them.

    Args:
        make: What a step needs, from its number alone.
        steps: The numbers of all steps that may be asked for.
        device: What is trained on; memory that `make` pins is pinned for it.
    """
    if not STEPS_AHEAD:
        yield map(make, steps)
        return
    # A new thread would pin memory for the first GPU, which may be another process's.
    initializer = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
    thread = ThreadPoolExecutor(1, "batches", initializer)
    try:
        yield _in_order(thread, make, iter(steps))
    finally:
        thread.shutdown(cancel_futures=True)


def _in_order(thread: ThreadPoolExecutor, make: Callable[[int], T], steps: Iterator[int]) -> Iterator[T]:
    waiting: deque[Future[T]] = deque()
    while True:
        # One more than stay ahead: the first is that of the step itself.
        while len(waiting) <= STEPS_AHEAD and (step := next(steps, None)) is not None:
            waiting.append(thread.submit(make, step))
        if not waiting:
            return
        yield waiting.popleft().result()
