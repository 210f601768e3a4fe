"""The same work over several processes: results in the order of the batches, a bounded number of them in flight."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from sftkey_data.errors import SFTKeyError

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")

ROWS_PER_JOB = 500
IN_FLIGHT = 2  # batches per worker: enough to keep it busy, few enough to bound memory


def in_order(
    job: Callable[[list[_Row]], _Result], batches: Iterable[list[_Row]], workers: int
) -> Generator[tuple[list[_Row], _Result], None, None]:
    """Batches with their results, in order; the same for any number of workers. Close it to end the workers early.

    Args:
        job: Picklable; called in this process where `workers` is 1.
        batches: Read as they are needed.
        workers: Processes.

    Raises:
        SFTKeyError: `workers` is below 1, or a worker process died.
    """
    if workers < 1:
        raise SFTKeyError(f"--workers must be at least 1, found {workers}")
    if workers == 1:
        for batch in batches:
            yield batch, job(batch)
        return
    # spawn: a fork of a process with threads (pyarrow's, the symbolic worker's) may hang
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ready, (os.getpid(),))
    try:
        yield from _flow(pool, job, iter(batches), workers * IN_FLIGHT)
    except BrokenProcessPool:
        raise SFTKeyError("a worker process died, perhaps for lack of memory; try fewer --workers") from None
    except BaseException:  # Ctrl-C, or a reader that went away: nobody wants the batches in flight
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _flow(
    pool: ProcessPoolExecutor, job: Callable[[list[_Row]], _Result], batches: Iterator[list[_Row]], limit: int
) -> Iterator[tuple[list[_Row], _Result]]:
    pending: deque[tuple[list[_Row], Future[_Result]]] = deque()
    for batch in batches:
        pending.append((batch, pool.submit(job, batch)))
        if len(pending) >= limit:
            done, future = pending.popleft()
            yield done, future.result()
    for done, future in pending:
        yield done, future.result()


def _ready(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End with the parent, however it ends: a killed parent cannot tell its pool."""
    with contextlib.suppress(Exception):
        if os.getppid() == parent:
            process = multiprocessing.parent_process()
            if process is not None:
                process.join()
    os._exit(1)
