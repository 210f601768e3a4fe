"""Running pieces: in this process, in worker processes, or as tasks of a Ray cluster. The results are the same."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sftkey_data.errors import Interrupted

PieceTask = Callable[[Any], Any]
AHEAD = 2  # pieces handed out per worker: one in work, one waiting
PARENT_POLL_SECONDS = 0.5

_task: PieceTask | None = None  # what a forked worker inherits


def run_here(task: PieceTask, pieces: Iterable[Any]) -> Iterator[Any]:
    """Results in order, one piece at a time."""
    return map(task, pieces)


def run_processes(task: PieceTask, pieces: Iterable[Any], workers: int) -> Iterator[Any]:
    """Results in order, from forked worker processes, which share what was loaded before.

    Raises:
        Interrupted: A worker died (killed, or out of memory).
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(), task)) as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(_inherited, piece))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise Interrupted(
                "a worker process died (killed, or out of memory): the same command goes on from the finished shards;"
                " fewer --workers need less memory"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()  # nobody waits for what they still write, and it is not under its final name
            raise


def run_ray(make_task: Callable[[], PieceTask], pieces: Iterable[Any]) -> Iterator[Any]:
    """Results in order, from tasks on an existing Ray cluster (`RAY_ADDRESS`), else one on this machine.

    Args:
        make_task: Makes the task in a worker, once for each of its processes.
        pieces: As for the others; a task of a node that dies is run again elsewhere by Ray.
    """
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, logging_level=logging.ERROR)
    remote = ray.remote(max_retries=-1)(_on_ray)
    shared, key = ray.put(make_task), os.urandom(8).hex()
    ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    try:
        for piece in pieces:
            waiting.append(remote.remote(key, shared, piece))
            if len(waiting) >= ahead:
                yield _ray_result(ray, waiting.popleft())
        while waiting:
            yield _ray_result(ray, waiting.popleft())
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)


def _ray_result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None


_ray_tasks: dict[str, PieceTask] = {}


def _on_ray(key: str, make_task: Callable[[], PieceTask], piece: Any) -> Any:
    if key not in _ray_tasks:
        _ray_tasks[key] = make_task()
    return _ray_tasks[key](piece)


def _inherited(piece: Any) -> Any:
    if _task is None:
        raise RuntimeError("a worker without a task")
    return _task(piece)


def _begin(parent: int, task: PieceTask) -> None:
    """Take the task, inherited and never pickled: another pool may begin while `pieces` of this one are being made."""
    global _task
    _task = task
    _follow_parent(parent)


def _follow_parent(parent: int) -> None:
    """End with the parent, even if it was killed: a pool's worker would wait for work for ever."""

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says what there is to say

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
