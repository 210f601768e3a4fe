"""The plan of a study: every run with all that decides its figures, and a folder named after that."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sftkey_data
from sftkey_eval.generation.model_files import find_model
from sftkey_train.loss.schedule import num_stage_examples
from sftkey_train.recipe import Recipe, Stage
from sftkey_train.recipe_tables import ModelSource
from sftkey_train.study.named_arms import STAGE1, Arm
from sftkey_train.study.study_file import OwnWords, Part, Study
from sftkey_train.study.study_sets import StudyData

RUNS, TRAINING, OWN = "runs", "training", "own"
Role = Literal["claim", "tuning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSampling:
    """What a stage 1 is to write for its train set, once for all arms that train on it; `key` is as a run's."""

    stage1: "PlannedRun"
    words: OwnWords
    batch_size: int
    seed: int  # of the sampling
    key: str
    folder: Path

    @property
    def num_items(self) -> int:
        """How many examples it writes for."""
        there = self.stage1.dataset.num_examples["train"]
        return min(there, self.words.items or there)

    @property
    def label(self) -> str:
        """What it is called at the terminal."""
        return f"{self.stage1.dataset.name} seed {self.stage1.seed} own words"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnExamples:
    """Which of the sampled completions a run trains on; its data folder is made of them."""

    sampling: PlannedSampling
    keep: str
    per_item: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One arm on one dataset with one seed.

    `key` is the hash of all that decides its figures, and part of its folder's name: a changed study file has other
    folders for the runs that it changes, and finds the rest as they were.
    """

    dataset: StudyData
    seed: int
    role: Role
    arm: Arm
    key: str
    folder: Path
    parent: "PlannedRun | None"  # whose last weights it starts from
    recipe: Recipe
    scored: tuple[Part, ...]  # the parts that it generates for
    own: OwnExamples | None = None  # what it trains on instead of the train set

    @property
    def final(self) -> Path:
        """The trained model, once it is there."""
        return self.recipe.out / self.arm.name / "final"

    @property
    def label(self) -> str:
        """What it is called at the terminal."""
        return f"{self.dataset.name} seed {self.seed} {self.arm.name}"


Node = PlannedRun | PlannedSampling


def comes_after(node: Node) -> Node | None:
    """What has to be finished before it."""
    if isinstance(node, PlannedSampling):
        return node.stage1
    return node.parent if node.own is None else node.own.sampling


def plan_runs(study: Study, arms: dict[str, Arm], sets: dict[str, StudyData]) -> list[PlannedRun]:
    """All runs of a study, each after the stage 1 it starts from.

    Args:
        study: What is asked for.
        arms: Stage 1 and its arms, see `study_arms`.
        sets: Its datasets, see `make_sets`.

    Raises:
        SFTKeyError: The model is not there.
    """
    model = find_model(study.model.path).fingerprint if study.model.path is not None else None
    runs: list[PlannedRun] = []
    for data in sets.values():
        for seed in (*study.seeds.claim, *study.seeds.tuning):
            first = _planned(study, data, seed, arms[STAGE1], None, model)
            chosen = study.datasets[data.name].arms
            rest = [arm for name, arm in arms.items() if name != STAGE1 and (chosen is None or name in chosen)]
            parents = {"stage1": first, "model": None}
            runs += [first, *(_planned(study, data, seed, arm, parents[arm.start], model) for arm in rest)]
    return runs


def narrowed(
    runs: Sequence[PlannedRun], only: Sequence[str], seeds: Sequence[int], datasets: Sequence[str] = ()
) -> list[PlannedRun]:
    """The runs of some arms and datasets (none named: all) and seeds, and the stage 1 that they need."""
    there = [run for run in runs if run.seed in seeds and (not datasets or run.dataset.name in datasets)]
    kept = [run for run in there if not only or run.arm.name in only]
    needed = {run.folder for run in kept} | {run.parent.folder for run in kept if run.parent is not None}
    return [run for run in runs if run.folder in needed]


def samplings(runs: Sequence[PlannedRun]) -> list[PlannedSampling]:
    """What is sampled for some runs, each once."""
    needed = {run.own.sampling.folder: run.own.sampling for run in runs if run.own is not None}
    return list(needed.values())


def _planned(
    study: Study, data: StudyData, seed: int, arm: Arm, parent: PlannedRun | None, model: str | None
) -> PlannedRun:
    role: Role = "claim" if seed in study.seeds.claim else "tuning"
    scored: tuple[Part, ...] = ("validation", "test") if role == "claim" else ("validation",)
    seed_folder = study.out / RUNS / data.name / f"seed-{seed}"
    own = None
    if arm.own is not None and parent is not None:
        sampling = _sampling(parent, arm.own.words, study.evaluation.batch_size, seed_folder)
        own = OwnExamples(sampling=sampling, keep=arm.own.keep, per_item=arm.own.words.per_item)
    recipe = _recipe(study, data, seed, arm, parent)
    key = _key(study, data, recipe, parent.key if parent is not None else model, scored, own)
    folder = seed_folder / f"{arm.name}-{key[:10]}"
    changed: dict[str, Any] = {"out": folder / TRAINING} | ({"data": folder / OWN} if own is not None else {})
    return PlannedRun(
        dataset=data,
        seed=seed,
        role=role,
        arm=arm,
        key=key,
        folder=folder,
        parent=parent,
        recipe=recipe.model_copy(update=changed),
        scored=scored,
        own=own,
    )


def _sampling(stage1: PlannedRun, words: OwnWords, batch_size: int, folder: Path) -> PlannedSampling:
    seed = int(np.random.SeedSequence([stage1.seed, 2]).generate_state(1)[0])
    settings = words.model_dump(exclude={"per_item"}) | {"batch_size": batch_size, "seed": seed}
    facts = {"version": sftkey_data.__version__, "stage1": stage1.key, "settings": settings}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return PlannedSampling(
        stage1=stage1, words=words, batch_size=batch_size, seed=seed, key=key, folder=folder / f"sampled-{key[:10]}"
    )


def _stage_of(arm: Arm, data: StudyData) -> Stage:
    """With the steps of the arms beside it: its epochs are those of the train set, not of its own examples."""
    if arm.own is None or arm.stage.epochs is None:
        return arm.stage
    num_steps = math.ceil(num_stage_examples(arm.stage, data.num_examples["train"]) / arm.stage.batch_size)
    return arm.stage.model_copy(update={"epochs": None, "steps": num_steps})


def _recipe(study: Study, data: StudyData, seed: int, arm: Arm, parent: PlannedRun | None) -> Recipe:
    model = study.model
    if parent is not None:
        # Its own numbers for all arms, else they would see the data in the order of stage 1 once more.
        seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        model = ModelSource(path=str(parent.final), trust_remote_code=model.trust_remote_code)
    return Recipe.model_validate(
        {
            "name": f"{study.name}: {arm.name}",
            "data": data.folders["train"],
            "heldout": data.folders["validation"],
            "heldout_examples": study.heldout_examples,
            "out": study.out,
            "seed": seed,
            "device": study.device,
            "precision": study.precision,
            "threads": study.threads,
            "gradient_checkpointing": study.gradient_checkpointing,
            "model": model,
            "lora": arm.lora,
            "stage": (_stage_of(arm, data),),
        }
    )


_WITHOUT_EFFECT = ("name", "out", "data", "heldout")  # of a recipe; the data are in the key by their content


def _key(
    study: Study,
    data: StudyData,
    recipe: Recipe,
    start: str | None,
    scored: tuple[Part, ...],
    own: OwnExamples | None,
) -> str:
    settings: dict[str, Any] = {k: v for k, v in recipe.resolved().items() if k not in _WITHOUT_EFFECT}
    settings["stage"] = [{k: v for k, v in stage.items() if k != "name"} for stage in settings["stage"]]
    settings["model"] = {**settings["model"], "path": None}  # by what it holds: `start`
    facts = {
        "version": sftkey_data.__version__,
        "recipe": settings,
        "start": start,
        "data": {part: data.digests[part] for part in ("train", "validation", *scored)},
        "scored": scored,
        "evaluation": study.evaluation.model_dump(),
    }
    if own is not None:
        facts["own"] = {"sampling": own.sampling.key, "keep": own.keep, "per_item": own.per_item}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
