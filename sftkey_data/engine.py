"""Running pieces in this process, or as tasks of a Ray cluster; `process_pool` beside it has worker processes."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sftkey_data.errors import SFTKeyError

PieceTask = Callable[[Any], Any]
AHEAD_PER_CORE = 2  # pieces handed out per core of the cluster, one in work and one waiting: busy cores, bounded memory


def run_here(task: PieceTask, pieces: Iterable[Any]) -> Iterator[Any]:
    """Results in order, one piece at a time."""
    return map(task, pieces)


def run_ray(make_task: Callable[[], PieceTask], pieces: Iterable[Any]) -> Iterator[Any]:
    """Results in order, from tasks on an existing Ray cluster (`RAY_ADDRESS`), else one on this machine.

    Args:
        make_task: Makes the task in a worker, once for each of its processes.
        pieces: As for the others; a task of a node that dies is run again elsewhere by Ray.
    """
    ray = connected_ray()
    remote = ray.remote(max_retries=-1)(_on_ray)  # -1: however many nodes die; a piece done twice gives the same bytes
    # sent once for all pieces; the key tells a worker that outlives this call its tasks apart
    shared, key = ray.put(make_task), os.urandom(8).hex()
    ahead = AHEAD_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    try:
        for piece in pieces:
            waiting.append(remote.remote(key, shared, piece))
            if len(waiting) >= ahead:
                yield ray_result(ray, waiting.popleft())
        while waiting:
            yield ray_result(ray, waiting.popleft())
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)


def connected_ray() -> Any:
    """The module `ray`, connected to an existing cluster (`RAY_ADDRESS`), else to one on this machine.

    Raises:
        SFTKeyError: No cluster answers there.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError:
            raise SFTKeyError(f"no Ray cluster answers at RAY_ADDRESS {address}; is its token set here too?") from None
    return ray


def ray_result(ray: Any, reference: Any) -> Any:
    """What a task has given.

    Raises:
        Exception: What the task has raised, as if it had run here.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None


_ray_tasks: dict[str, PieceTask] = {}


def _on_ray(key: str, make_task: Callable[[], PieceTask], piece: Any) -> Any:
    if key not in _ray_tasks:
        _ray_tasks[key] = make_task()
    return _ray_tasks[key](piece)
