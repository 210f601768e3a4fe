"""A pool of processes: results in order, a bounded number of pieces in flight, and an end to its own processes only."""

import multiprocessing
import multiprocessing.context
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import ModuleType
from typing import Any, Literal, TypeVar

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.options import MOST_WORKERS

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

# `fork` shares what was loaded before (a tokenizer, a model of it, hashes of an evaluation set) and needs no pickling
# of it. `spawn` is for a process that has threads (of pyarrow, of the symbolic rule's watch): a lock that one of them
# holds during a fork is never released in the child.
Start = Literal["fork", "spawn"]


class _Worker(multiprocessing.context.SpawnProcess):
    """A new process that does not run the caller's script: it would begin all over where that has no `__main__` guard.

    Tasks are of modules that can be imported, never of a script.
    """

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 - what multiprocessing calls
        script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            return multiprocessing.context.SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = script


class _Spawn(multiprocessing.context.SpawnContext):
    Process = _Worker


AHEAD = 2  # pieces handed out per worker, one in work and one waiting: busy workers, bounded memory
PARENT_POLL_SECONDS = 0.5
TERM_AGAIN_SECONDS = 0.5

_task: Callable[[Any], Any] | None = None  # what this worker does


def cores() -> int:
    """Cores that this process may use: how many workers there are where nobody says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Refuse a number of workers that no machine has.

    Raises:
        SFTKeyError: It is below 1, or above `MOST_WORKERS`.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise SFTKeyError(f"workers is {workers}, expected 1 to {MOST_WORKERS}")


def run_processes(
    task: Callable[[_Piece], _Result],
    pieces: Iterable[_Piece],
    workers: int,
    *,
    start: Start,
    hint: str,
    saves: bool = False,
) -> Generator[_Result, None, None]:
    """Results in the order of the pieces, the same for any number of workers. Close it to end the workers early.

    Args:
        task: Inherited with `fork`; picklable with `spawn`, and sent once for each worker.
        pieces: Read as they are needed; each is pickled, and so is its result.
        workers: Processes.
        start: How they begin.
        hint: What a user can do when a worker has died.
        saves: Where it ends early, workers get a SIGTERM and the time to save and end; a second Ctrl-C kills them.

    Raises:
        SFTKeyError: Such a number of workers is refused by `check_workers`.
        Interrupted: A worker died (killed, or out of memory).
    """
    check_workers(workers)
    context = _Spawn() if start == "spawn" else multiprocessing.get_context(start)
    given = task if start == "fork" else pickle.dumps(task)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(), given))
    try:
        yield from _flow(pool, pieces, AHEAD * workers)
    except BrokenProcessPool:
        raise Interrupted(f"a worker process died (killed, or out of memory): {hint}") from None
    except BaseException:  # an error, Ctrl-C, or a reader that went away: nobody waits for what is in flight
        _end(pool, saves=saves)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _flow(pool: ProcessPoolExecutor, pieces: Iterable[Any], limit: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(_work, piece))
        if len(waiting) >= limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _end(pool: ProcessPoolExecutor, *, saves: bool) -> None:
    """End the pool's own processes; `multiprocessing.active_children` would name those of others too."""
    processes = list((pool._processes or {}).values())  # as its `kill_workers` does, which came with Python 3.14
    try:
        for process in processes if saves else ():
            process.terminate()
        for process in processes if saves else ():
            # Again and again: a signal that comes as a task ends is lost with it, and the next task would never end.
            while process.is_alive():
                process.terminate()
                process.join(TERM_AGAIN_SECONDS)
    finally:  # also when a second Ctrl-C ends the waiting
        for process in processes:
            process.kill()


def _work(piece: Any) -> Any:
    if _task is None:
        raise RuntimeError("a worker without a task")
    return _task(piece)


def _begin(parent: int, task: Callable[[Any], Any] | bytes) -> None:
    """Take the task: as an argument, since another pool may begin while `pieces` of this one are being made."""
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says what there is to say
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _task = pickle.loads(task) if isinstance(task, bytes) else task  # at last: it may import for many seconds


def _end_with(parent: int) -> None:
    """End with the parent, however it ends: one that was killed cannot tell its pool, which would wait for ever."""
    # Its sentinel (`multiprocessing.parent_process`) would stay open in workers forked after this one.
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(1)
