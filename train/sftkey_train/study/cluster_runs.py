"""The runs of a study as tasks of a Ray cluster, each handed to a machine when what it starts from is finished."""

import os
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from sftkey_data.engine import connected_ray, ray_result
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_train.study.study_plan import Node, comes_after

_RETRIES = 3  # of a task whose machine dies; a run goes on from its checkpoint


def run_on_cluster(
    job: Callable[[Node], Any], nodes: Sequence[Node], marker: Path, *, threads: int, gpus: int
) -> Generator[Any, None, None]:
    """What becomes of each node, in their order, from tasks on a Ray cluster.

    Args:
        job: What is done with a node.
        nodes: Each after what it comes after.
        marker: A file of the study's folder, which a machine has to see.
        threads: CPUs that a task holds.
        gpus: GPUs that it holds.

    Raises:
        SFTKeyError: No machine has so many CPUs or GPUs, one does not see the study's folder, or what a job refuses.
        Interrupted: A task died more often than it was tried again.
    """
    ray = connected_ray()
    _check_room(ray.nodes(), threads, gpus)
    task = ray.remote(max_retries=_RETRIES, num_cpus=threads, num_gpus=gpus)(_task)
    shared, home = ray.put(job), Path.cwd()
    begun: dict[Path, Any] = {}
    try:
        for node in nodes:
            first = comes_after(node)
            # An argument of a task that is not there yet holds the task back, and holds no CPU meanwhile.
            start = begun.get(first.folder) if first is not None else None
            begun[node.folder] = task.remote(shared, node, home, marker, start)
        for node in nodes:
            yield ray_result(ray, begun.pop(node.folder))
    except ray.exceptions.RayError as error:
        raise Interrupted(f"a task of the cluster died ({type(error).__name__}): the same command goes on") from None
    finally:
        for reference in begun.values():
            ray.cancel(reference, force=True)


def _check_room(machines: Sequence[Any], threads: int, gpus: int) -> None:
    """A task that fits no machine would wait for ever."""
    there = [machine["Resources"] for machine in machines if machine["Alive"]]
    if not any(room.get("CPU", 0) >= threads and room.get("GPU", 0) >= gpus for room in there):
        found = "; ".join(f"{room.get('CPU', 0):g} CPUs and {room.get('GPU', 0):g} GPUs" for room in there)
        raise SFTKeyError(
            f"--engine ray: a run needs {threads} CPUs (threads) and {gpus} GPUs, no machine has both; found {found}"
        )


def _task(job: Callable[[Node], Any], node: Node, home: Path, marker: Path, _start: Any) -> Any:
    if not home.is_dir() or not (home / marker).is_file():
        raise SFTKeyError(
            f"--engine ray: {socket.gethostname()} does not see {home / marker}; "
            "'out' has to be in a folder that all machines of the cluster share"
        )
    os.chdir(home)  # the study's paths are relative to where its command runs
    return job(node)
