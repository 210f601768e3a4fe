"""Who works on the pieces of a build: this process, others, or a cluster."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from sftkey_data import engine
from sftkey_data.process_pool import run_processes
from sftkey_data.sources.pieces import Piece
from sftkey_data.sources.survey import SurveyRun, survey_threads

GOES_ON = "the same command goes on from the finished shards; fewer --workers need less memory"


@dataclass(frozen=True, slots=True)
class Machinery:
    """Who works: changes nothing about what is written."""

    workers: int = 1
    engine: str = "local"  # or "ray"

    def run(self, task: Callable[[Piece], Any], make_task: Callable[[], Any], pieces: Iterator[Piece]) -> Iterator[Any]:
        """Results of a task over pieces, in order."""
        if self.engine == "ray":
            return engine.run_ray(make_task, pieces)
        if self.workers == 1:
            return engine.run_here(task, pieces)
        # fork: tokenizer and evaluation questions are loaded by now, and shared
        return run_processes(task, pieces, self.workers, start="fork", hint=GOES_ON)

    def surveying(self) -> AbstractContextManager[SurveyRun]:
        """Who surveys the inputs: threads, since processes may not be forked beside the loading of a tokenizer."""
        if self.engine == "ray":
            return nullcontext(lambda task, blocks: engine.run_ray(lambda: task, blocks))
        return survey_threads(self.workers)


ONE_WORKER = Machinery()
