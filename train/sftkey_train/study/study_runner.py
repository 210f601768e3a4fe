"""A whole study: every run that is not finished, one after the other or in several processes, and study.json."""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sftkey_data.console import progress, say
from sftkey_data.errors import SFTKeyError
from sftkey_data.process_pool import run_processes
from sftkey_data.storage.appearing import make_folder, write_json
from sftkey_train.study.named_arms import Arm, study_arms
from sftkey_train.study.one_run import Result, finish_run, read_result
from sftkey_train.study.study_file import EvaluationTable, Study, check_known, chosen_seeds, load_study
from sftkey_train.study.study_plan import PlannedRun, narrowed, plan_runs
from sftkey_train.study.study_sets import SETS, check_sets, make_sets

MARKER, RECORD, LOCK = ".sftkey-study", "study.json", ".lock"
_GOES_ON = "the same command goes on from what is finished; fewer --jobs need less memory"
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study file with its arms, checked."""

    path: Path
    study: Study
    arms: dict[str, Arm]


def open_study(path: Path, only: Sequence[str] = ()) -> OpenStudy:
    """Read and check a study file.

    Raises:
        SFTKeyError: One line that names the file and the key, or an arm of `only` that it does not have.
    """
    study = load_study(path)
    arms = study_arms(study, str(path))
    check_known("--only", only, list(arms))
    check_sets(study, str(path))
    refuse_other_folder(study.out)
    return OpenStudy(path, study, arms)


def run_study(opened: OpenStudy, only: Sequence[str] = (), seeds: str | None = None, jobs: int = 1) -> Iterator[Result]:
    """Take the runs of a study to their ends and give each result; those that are finished come at once.

    `study.json` is written anew after each, with all results of the study as it is now.

    Args:
        opened: The study.
        only: Arms to run, with the stage 1 they need; empty: all.
        seeds: `A:B`; None: all.
        jobs: Processes, each with the study's number of threads; the figures are the same for any number.

    Raises:
        SFTKeyError: What a run refuses; what is finished is kept.
    """
    study, chosen = opened.study, chosen_seeds(opened.study, seeds)
    with _own_folder(study.out):
        runs = plan_runs(study, opened.arms, make_sets(study, study.out / SETS))
        # First every stage 1, then what starts from them: processes wait for one another least.
        wanted = sorted(narrowed(runs, only, chosen), key=lambda run: run.parent is not None)
        results = {run.folder: result for run in runs if (result := read_result(run)) is not None}
        _write_record(study, runs, results)
        yield from [results[run.folder] for run in wanted if run.folder in results]
        todo = [run for run in wanted if run.folder not in results]
        with closing(_finished(study, todo, jobs)) as finished:
            for run, result in zip(todo, finished, strict=True):
                results[run.folder] = result
                _write_record(study, runs, results)
                yield result


def _finished(study: Study, runs: Sequence[PlannedRun], jobs: int) -> Generator[Result, None, None]:
    job = _Job(study.evaluation, study.keep_models)
    if jobs == 1:
        for run in runs:
            yield job(run)
            say(f"{run.label}: finished")
        return
    # spawn: torch's threads do not survive a fork
    processes = run_processes(_Aside(job), runs, jobs, start="spawn", hint=_GOES_ON)
    with progress("runs", len(runs)) as bar, closing(processes) as results:
        for result in results:
            bar.advance(bar.task_ids[0])
            yield result


@dataclass(frozen=True, slots=True)
class _Job:
    """What becomes of a run."""

    evaluation: EvaluationTable
    keep_models: bool

    def __call__(self, run: PlannedRun) -> Result:
        return finish_run(run, self.evaluation, keep_model=self.keep_models)


@dataclass(frozen=True, slots=True)
class _Aside:
    """The same in a process among others, whose lines and bars would cross at the terminal.

    Runs are handed out in order, so the stage 1 that one waits for is finished already or in work beside it.
    """

    job: _Job

    def __call__(self, run: PlannedRun) -> Result:
        while run.parent is not None and read_result(run.parent) is None:
            time.sleep(_POLL_SECONDS)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            return self.job(run)


def _write_record(study: Study, runs: Sequence[PlannedRun], results: Mapping[Path, Result]) -> None:
    """All results that are there, in the order of the plan, and how many runs there are to be."""
    there = [results[run.folder] for run in runs if run.folder in results]
    record = {
        "study": study.model_dump(mode="json"),
        "num_runs": len(runs),
        "num_finished": len(there),
        "runs": there,
    }
    write_json(study.out / RECORD, record)


def refuse_other_folder(out: Path) -> None:
    """Refuse, before anything is built, a folder that holds anything but a study.

    Raises:
        SFTKeyError: Says what was found.
    """
    if out.exists() and not out.is_dir():
        raise SFTKeyError(f"out {out} is a file, expected a folder")
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if found and MARKER not in found and found != [LOCK]:
        raise SFTKeyError(f"out {out} is not empty and holds no study, found {found[0]}")


@contextmanager
def _own_folder(out: Path) -> Iterator[None]:
    """The study's folder, marked as ours from its first moment, and locked as long as this process lives."""
    make_folder(out)
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SFTKeyError(f"out {out}: another process is running this study") from None
        (out / MARKER).touch()
        yield
