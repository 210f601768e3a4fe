"""Who works on the pieces of a build: this process, others, or a cluster."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from sftkey_data import engine
from sftkey_data.building.plan import Plan
from sftkey_data.console import progress
from sftkey_data.process_pool import run_processes
from sftkey_data.sources.pieces import Piece, each_of, in_groups
from sftkey_data.sources.row_index import BlockSizes, RowBlock
from sftkey_data.sources.survey import SurveyRun, survey_threads

GOES_ON = "the same command goes on from the finished shards; fewer --workers need less memory"


@dataclass(frozen=True, slots=True)
class Machinery:
    """Who works: changes nothing about what is written."""

    workers: int = 1
    engine: str = "local"  # or "ray"

    def run(self, task: Callable[[Piece], Any], make_task: Callable[[], Any], pieces: Iterator[Piece]) -> Iterator[Any]:
        """Results of a task over pieces, in order."""
        if self.is_alone:
            yield from engine.run_here(task, pieces)
            return
        for results in self._spread(partial(each_of, task=task), partial(_make_each, make_task), in_groups(pieces)):
            yield from results

    def indexed(self, plan: Plan) -> Plan:
        """The plan with the rows found of inputs that workers had better read by themselves."""
        inputs = [] if self.is_alone else plan.unindexed(math.inf if self.engine == "ray" else self.workers)
        if not inputs:
            return plan
        with progress("measuring rows") as bar:

            def run(task: Callable[[RowBlock], BlockSizes], blocks: Iterable[RowBlock]) -> Iterator[BlockSizes]:
                for found in self._spread(task, lambda: task, blocks):
                    bar.advance(bar.task_ids[0], len(found.sizes))
                    yield found

            return plan.indexed(inputs, run)

    @property
    def is_alone(self) -> bool:
        """Whether this process does everything itself."""
        return self.engine == "local" and self.workers == 1

    def _spread(
        self, task: Callable[[Any], Any], make_task: Callable[[], Callable[[Any], Any]], items: Iterable[Any]
    ) -> Iterator[Any]:
        if self.engine == "ray":
            return engine.run_ray(make_task, items)
        # fork: tokenizer and evaluation questions are loaded by now, and shared. No thread of Arrow's is ever waited
        # for in a worker, as none begins where files are read (`sources.parquet`).
        return run_processes(task, items, self.workers, start="fork", hint=GOES_ON)

    def surveying(self) -> AbstractContextManager[SurveyRun]:
        """Who surveys the inputs: threads, since processes may not be forked beside the loading of a tokenizer."""
        if self.engine == "ray":
            return nullcontext(lambda task, blocks: engine.run_ray(lambda: task, blocks))
        return survey_threads(self.workers)


def _make_each(make_task: Callable[[], Callable[[Piece], Any]]) -> Callable[[Sequence[Piece]], list[Any]]:
    return partial(each_of, task=make_task())


ONE_WORKER = Machinery()
