"""A whole study: every run that is not finished, one after the other or in several processes, and study.json."""

import contextlib
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sftkey_data.console import progress, say
from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.process_pool import cores, run_processes
from sftkey_data.storage.appearing import is_own_partial, write_json
from sftkey_data.storage.own_output import OUR_MARKER, own_folder
from sftkey_train.signals import StopSignals
from sftkey_train.study.cluster_runs import run_on_cluster
from sftkey_train.study.named_arms import Arm, study_arms
from sftkey_train.study.one_run import Missing, Result, finish_run, read_missing, read_result, tidy_run
from sftkey_train.study.own_words import finish_sampling, read_sampled
from sftkey_train.study.study_file import EvaluationTable, Study, check_known, chosen_seeds, load_study
from sftkey_train.study.study_plan import Node, PlannedRun, PlannedSampling, comes_after, narrowed, plan_runs, samplings
from sftkey_train.study.study_sets import SETS, check_sets, make_sets

MARKER, RECORD = ".sftkey-study", "study.json"
_GOES_ON = "the same command goes on from what is finished; fewer --workers need less memory"
_POLL_SECONDS = 0.2
Outcomes = dict[Path, Result | Missing]


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


def run_study(
    opened: OpenStudy,
    only: Sequence[str] = (),
    seeds: str | None = None,
    workers: int | None = 1,
    engine: str = "local",
) -> Iterator[Result]:
    """Take the runs of a study to their ends and give each result; those that are finished come at once.

    `study.json` is written anew after each, with all results of the study as it is now.

    Args:
        opened: The study.
        only: Arms to run, with the stage 1 they need; empty: all.
        seeds: `A:B`; None: all.
        workers: Processes, each with the study's number of threads; the figures are the same for any number. None:
            as many as there are cores for, and one where the study trains on a GPU.
        engine: `local`, or `ray`: as many runs at once as the cluster has room for, with the same figures.

    Raises:
        SFTKeyError: What a run refuses; what is finished is kept.
        Stopped: SIGINT or SIGTERM came; the runs in work have saved what they can, and it says what is kept.
    """
    study, chosen = opened.study, chosen_seeds(opened.study, seeds)
    workers = _usual_workers(study) if workers is None and engine == "local" else workers or 1
    with _own_folder(study.out), _stopping(study.out):
        runs = plan_runs(study, opened.arms, make_sets(study, study.out / SETS))
        # Every stage 1, then what starts from them, then what waits for a sampling too: processes wait least.
        wanted = sorted(narrowed(runs, only, chosen), key=lambda run: (run.parent is not None, run.own is not None))
        there = ((run.folder, read_result(run) or read_missing(run)) for run in runs)
        outcomes: Outcomes = {folder: outcome for folder, outcome in there if outcome is not None}
        _write_record(study, runs, outcomes)
        for run in runs:
            if run.folder in outcomes:  # this process holds the study's lock, so nobody scores it now
                tidy_run(run, keep_model=study.keep_models)
        yield from _told(outcomes[run.folder] for run in wanted if run.folder in outcomes)
        todo = [run for run in wanted if run.folder not in outcomes]
        with closing(_finished(study, todo, workers, engine)) as finished:
            for run, outcome in zip(todo, finished, strict=True):
                outcomes[run.folder] = outcome
                _write_record(study, runs, outcomes)
                yield from _told([outcome])


def _usual_workers(study: Study) -> int:
    on_gpu = study.device != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    return 1 if on_gpu else max(1, cores() // study.threads)


def _told(outcomes: Iterable[Result | Missing]) -> Iterator[Result]:
    """The results; of what is missing, one line at the terminal."""
    for outcome in outcomes:
        if isinstance(outcome, Missing):
            say(f"{outcome.dataset} seed {outcome.seed} {outcome.arm}: not trained: {outcome.why}")
        else:
            yield outcome


def _finished(
    study: Study, runs: Sequence[PlannedRun], workers: int, engine: str
) -> Generator[Result | Missing, None, None]:
    """What becomes of each run, in order; what has to be sampled comes between stage 1 and what starts from it."""
    job = _Job(study.evaluation, study.keep_models)
    sampled = [one for one in samplings(runs) if read_sampled(one) is None]
    first = [run for run in runs if run.parent is None]
    nodes: list[Node] = [*first, *sampled, *(run for run in runs if run.parent is not None)]
    if workers == 1 and engine == "local":
        for node in nodes:
            if (outcome := job(node)) is not None:
                yield outcome
            if not isinstance(outcome, Missing):
                say(f"{node.label}: finished")
        return
    with progress("runs", len(nodes)) as bar, closing(_beside(study, job, nodes, workers, engine)) as outcomes:
        for outcome in outcomes:
            bar.advance(bar.task_ids[0])
            if outcome is not None:
                yield outcome


def _beside(
    study: Study, job: "_Job", nodes: Sequence[Node], workers: int, engine: str
) -> Generator[Result | Missing | None, None, None]:
    if engine == "ray":
        return run_on_cluster(job, nodes, study.out / MARKER, threads=study.threads, gpus=int(study.device == "cuda"))
    # spawn: torch's threads do not survive a fork
    return run_processes(_Aside(job), nodes, workers, start="spawn", hint=_GOES_ON, saves=True)


@dataclass(frozen=True, slots=True)
class _Job:
    """What becomes of a run; of a sampling there is no result, only what the runs behind it read."""

    evaluation: EvaluationTable
    keep_models: bool

    def __call__(self, node: Node) -> Result | Missing | None:
        if isinstance(node, PlannedSampling):
            finish_sampling(node)
            return None
        return finish_run(node, self.evaluation, keep_model=self.keep_models)


@dataclass(frozen=True, slots=True)
class _Aside:
    """The same in a process among others, whose lines and bars would cross at the terminal.

    They are handed out in order, so what one waits for is finished already or in work beside it.
    """

    job: _Job

    def __call__(self, node: Node) -> Result | Missing | None:
        first = comes_after(node)
        while first is not None and not _is_finished(first):
            time.sleep(_POLL_SECONDS)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            try:
                return self.job(node)
            except Stopped as stopped:  # the pool's end, which nobody waits for to hear more; no further run is begun
                os._exit(stopped.code)


def _is_finished(node: Node) -> bool:
    if isinstance(node, PlannedSampling):
        return read_sampled(node) is not None
    return read_result(node) is not None


def _write_record(study: Study, runs: Sequence[PlannedRun], outcomes: Outcomes) -> None:
    """All results that are there, in the order of the plan, how many runs there are to be, and which cannot be."""
    there = [outcomes[run.folder] for run in runs if run.folder in outcomes]
    results = [outcome for outcome in there if not isinstance(outcome, Missing)]
    record = {
        "study": study.model_dump(mode="json"),
        "num_runs": len(runs),
        "num_finished": len(results),
        "runs": results,
        "missing": [asdict(outcome) for outcome in there if isinstance(outcome, Missing)],
    }
    write_json(study.out / RECORD, record)


def refuse_other_folder(out: Path) -> None:
    """Refuse, before anything is built, a folder that holds anything but a study.

    Raises:
        SFTKeyError: Says what was found.
    """
    if out.exists() and not out.is_dir():
        raise SFTKeyError(f"out {out} is a file, expected a folder")
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    found = [name for name in names if name != OUR_MARKER and not is_own_partial(name)]
    if found and MARKER not in found:
        raise SFTKeyError(f"out {out} is not empty and holds no study, found {found[0]}")


@contextmanager
def _stopping(out: Path) -> Iterator[None]:
    """Take SIGINT and SIGTERM, and say what is kept of a study where one ends it."""
    with StopSignals() as signals:
        try:
            yield
        except Stopped as stopped:  # of the run that this process trained
            raise Stopped(f"{_progress_of(out)}; of the one in work {stopped.kept}", stopped.code) from None
        except KeyboardInterrupt:
            kept = "what those in work have saved is kept, the same command goes on from there"
            raise Stopped(f"{_progress_of(out)}; {kept}", signals.code) from None


def _progress_of(out: Path) -> str:
    if not (out / RECORD).exists():
        return "no run is begun"
    record = read_json_file(out / RECORD)
    return f"{record['num_finished']} of {record['num_runs']} runs are finished"


@contextmanager
def _own_folder(out: Path) -> Iterator[None]:
    """The study's folder, marked as ours and as a study's, and locked as long as this process lives."""
    with own_folder(out, _is_study):
        refuse_other_folder(out)
        (out / MARKER).touch()
        yield


def _is_study(out: Path) -> bool:
    """Whether a study lies there, also one that was begun before folders were marked."""
    return (out / MARKER).is_file()
