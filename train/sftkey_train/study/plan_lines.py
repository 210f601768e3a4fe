"""`--plan`: the runs of a study, what is done, and what the rest will cost, as lines to print."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.study.one_run import read_missing, read_result
from sftkey_train.study.own_words import read_sampled
from sftkey_train.study.run_cost import RunCost, estimated_cost
from sftkey_train.study.study_file import chosen_seeds
from sftkey_train.study.study_plan import RUNS, PlannedRun, PlannedSampling, narrowed, plan_runs, samplings
from sftkey_train.study.study_runner import OpenStudy
from sftkey_train.study.study_sets import SETS, make_sets

_ROW = "{:<14} {:>6} {:<7} {:<20} {:<7} {:>7} {:>12} {:>12} {:>10}"


def plan_lines(
    opened: OpenStudy, only: Sequence[str] = (), seeds: str | None = None, datasets: Sequence[str] = ()
) -> Iterator[str]:
    """What `run_study` would do; nothing is trained, and nothing is written to the study's folder.

    Generated sets that are not there yet are built elsewhere for it, and dropped.

    Raises:
        SFTKeyError: What `run_study` would refuse before its first step.
    """
    study, chosen = opened.study, chosen_seeds(opened.study, seeds)
    with ExitStack() as stack:
        folder = study.out / SETS
        if not folder.is_dir():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sftkey-study-")))
        runs = narrowed(plan_runs(study, opened.arms, make_sets(study, folder)), only, chosen, datasets)
        costs = _costs(opened, runs)
    done = {run.folder for run in runs if read_result(run) is not None}
    yield f"study {study.name}, out {study.out}"
    yield _ROW.format("dataset", "seed", "role", "arm", "state", "steps", "tokens", "supervised", "FLOPs")
    sampled = {one.folder for one in samplings(runs) if read_sampled(one) is not None}
    shown: set[Path] = set()
    for run in runs:
        if run.own is not None and run.own.sampling.folder not in shown:
            yield _sampling_row(run.own.sampling, sampled)
            shown.add(run.own.sampling.folder)
        cost, state = costs[run.folder], _state(run, done)
        figures = (f"{cost.steps:,}", f"{cost.tokens:,}", f"{cost.supervised_tokens:,}", f"{cost.flops:.2e}")
        yield _ROW.format(run.dataset.name, run.seed, run.role, run.arm.name, state, *figures)
    states = Counter(_state(run, done) for run in runs)
    left = [run for run in runs if _state(run, done) in ("begun", "to do")]
    rest = [costs[run.folder] for run in left]
    yield (
        f"{len(runs)} runs: {states['done']} done, {states['begun']} begun, {states['to do']} to do"
        f"{f', {missing} without an example to train on' if (missing := states['missing']) else ''}; "
        f"to train: {sum(c.steps for c in rest):,} steps, {sum(c.tokens for c in rest):,} tokens, "
        f"{sum(c.supervised_tokens for c in rest):,} supervised, {sum(c.flops for c in rest):.2e} FLOPs"
    )
    items = sum(_num_scored(opened, run) for run in left)
    yield f"to generate: {items:,} completions"
    if unsampled := [one for one in samplings(runs) if one.folder not in sampled]:
        num = sum(_num_sampled(one) for one in unsampled)
        yield f"to sample: {num:,} completions; what trains on them is estimated as if they were the gold ones"
    if others := _others(opened, runs if not only and not datasets and seeds is None else None):
        yield f"runs of other settings that lie beside these, left as they are: {others}"


def _state(run: PlannedRun, done: set[Path]) -> str:
    if run.folder in done:
        return "done"
    if read_missing(run) is not None:
        return "missing"
    return "begun" if run.folder.exists() else "to do"


def _sampling_row(sampling: PlannedSampling, done: set[Path]) -> str:
    run, begun = sampling.stage1, sampling.folder.exists()
    state = "done" if sampling.folder in done else "begun" if begun else "to do"
    return (
        _ROW.format(run.dataset.name, run.seed, run.role, "(own words)", state, "-", "-", "-", "-")
        + f" {_num_sampled(sampling):,} completions"
    )


def _num_sampled(sampling: PlannedSampling) -> int:
    return sampling.num_items * sampling.words.samples


def _costs(opened: OpenStudy, runs: Sequence[PlannedRun]) -> dict[Path, RunCost]:
    sets: dict[str, TrainingSet] = {}
    by_settings: dict[tuple[str, str], RunCost] = {}  # seeds of one arm differ in the order of the examples alone
    costs: dict[Path, RunCost] = {}
    for run in runs:
        name = run.dataset.name
        if name not in sets:
            sets[name] = read_training_set(run.dataset.folders["train"])
        if (name, run.arm.name) not in by_settings:
            by_settings[name, run.arm.name] = estimated_cost(run.recipe, opened.study.model, sets[name])
        costs[run.folder] = by_settings[name, run.arm.name]
    return costs


def _num_scored(opened: OpenStudy, run: PlannedRun) -> int:
    table, there = opened.study.evaluation, run.dataset.num_examples
    limits = {"validation": table.validation_examples, "test": table.test_examples}
    return sum(min(there[part], limits[part] or there[part]) for part in run.scored)


def _others(opened: OpenStudy, runs: Sequence[PlannedRun] | None) -> int:
    """How many folders of runs are not of the plan; 0 where only a part of it is asked for."""
    if runs is None:
        return 0
    mine = {run.folder for run in runs} | {one.folder for one in samplings(runs)}
    return sum(folder not in mine for folder in (opened.study.out / RUNS).glob("*/seed-*/*"))
