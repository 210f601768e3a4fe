"""Batches of rows over several processes."""

from collections.abc import Callable, Generator, Iterable
from itertools import chain, islice
from typing import TypeVar

from sftkey_data.process_pool import check_workers, cores, run_processes

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")

ROWS_PER_JOB = 500


def in_order(
    job: Callable[[list[_Row]], _Result], batches: Iterable[list[_Row]], workers: int | None
) -> Generator[_Result, None, None]:
    """Results in the order of the batches, the same for any number of workers. Close it to end the workers early.

    Args:
        job: Picklable; called in this process where `workers` is 1.
        batches: Read as they are needed.
        workers: Processes at most; None: one per core. There are no more than batches.

    Raises:
        SFTKeyError: `workers` is refused by `check_workers`, or a worker process died.
    """
    workers = cores() if workers is None else workers
    check_workers(workers)
    left = iter(batches)
    first = list(islice(left, workers))
    batches, workers = chain(first, left), len(first)
    if workers <= 1:
        yield from map(job, batches)
        return
    # spawn: pyarrow, which writes the verdicts, and the symbolic rule have threads
    yield from run_processes(job, batches, workers, start="spawn", hint="try fewer --workers")
