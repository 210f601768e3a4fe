"""A study's record, `study.json` or `study.json.gz`, as values: per dataset and arm what each item has come to.

It reads the record alone, and of it only what it needs, so that a record of an earlier version stays readable.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import regular
from sftkey_data.sources.row_bounds import read_bounded
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_train.study.named_arms import NAMED_ARMS, STAGE1
from sftkey_train.study.study_file import Part

_MEND = "`sftkey-train study` writes it anew from its runs"
Marked = NDArray[np.bool_]
Purpose = Literal["claim", "tuning"]
ItemMark = Literal["correct", "format_valid", "lenient_correct", "slip"]
ITEM_MARKS: tuple[ItemMark, ...] = ("correct", "format_valid", "lenient_correct", "slip")


@dataclass(frozen=True, slots=True)
class PartMarks:
    """What each item of a part has come to, under each seed of an arm.

    Args:
        seeds: In ascending order.
        marks: By name, (seeds, items); row i is of seed i, column j is the same item for all arms and seeds.
    """

    seeds: tuple[int, ...]
    marks: Mapping[ItemMark, Marked]

    @property
    def num_items(self) -> int:
        """Items of the part."""
        return int(self.marks["correct"].shape[1])


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """Share of held-out Keys that a model chooses given the gold CoT, after some steps of its stage; 0: before it."""

    step: int
    forced_key_match: float
    examples: int | None = None  # how many; None in records of before it was written


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRun:
    """What a run has cost, and its learning curve; seconds are None where no clock saw all of it.

    Those of `sampling` are there where it trained on the model's own words.
    """

    seed: int
    purpose: Purpose
    steps: int
    supervised_tokens: int
    flops: float
    seconds: Mapping[str, float | None]
    curve: tuple[LearningPoint, ...]


@dataclass(frozen=True, slots=True)
class MissingRun:
    """A run that has no result and will have none, as there was nothing to train on."""

    seed: int
    purpose: Purpose
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResults:
    """The finished runs of an arm on a dataset.

    Args:
        name: The arm's.
        like: The named arm that it is made of; its own name where it is one.
        lr: The learning rate of its stage; None where the study leaves it to the default.
        runs: In the order of their seeds.
        parts: What its items have come to; a pair without a finished run is not there.
        missing: Runs without a result.
    """

    name: str
    like: str
    lr: float | None
    runs: tuple[SeedRun, ...]
    parts: Mapping[tuple[Part, Purpose], PartMarks]
    missing: tuple[MissingRun, ...] = ()

    @property
    def num_steps(self) -> int | None:
        """Of its longest run; None without one."""
        return max((run.steps for run in self.runs), default=None)


@dataclass(frozen=True, slots=True)
class DatasetResults:
    """The arms of a study that are trained on a dataset, stage 1 first, in its order; also those without a result."""

    name: str
    arms: Mapping[str, ArmResults]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """A study so far; `arms` are all of its arms, stage 1 first."""

    name: str
    num_runs: int
    num_finished: int
    heldout_examples: int
    arms: tuple[str, ...]
    datasets: tuple[DatasetResults, ...]


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Point(_Table):
    step: int
    forced_key_match: float
    examples: int | None = None


class _Scores(_Table):
    n: int
    items: dict[ItemMark, str]


class _Own(_Table):
    seconds: dict[str, float | None]


class _Run(_Table):
    dataset: str
    seed: int
    role: Purpose
    arm: str
    steps: int
    supervised_tokens: int
    flops: float
    seconds: dict[str, float | None]
    heldout: tuple[_Point, ...]
    scores: dict[Part, _Scores]
    own: _Own | None = None


class _Missing(_Table):
    dataset: str
    seed: int
    role: Purpose
    arm: str
    why: str


class _Set(_Table):
    arms: tuple[str, ...] | None = None


class _Study(_Table):
    name: str
    heldout_examples: int
    stage1: dict[str, Any]
    stage2: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    datasets: dict[str, _Set]


class _Record(_Table):
    study: _Study
    num_runs: int
    num_finished: int
    runs: tuple[_Run, ...]
    missing: tuple[_Missing, ...] = ()


def read_results(path: Path) -> StudyResults:
    """The results of a study's record.

    Args:
        path: `study.json`, or the same compressed by gzip.

    Raises:
        SFTKeyError: It is not there, or no record of a study; names the key.
    """
    record = validate(_json(path), _Record, where=str(path))
    arms = {STAGE1: {}, **record.study.arms}
    datasets = tuple(
        DatasetResults(
            name,
            {
                arm: _arm(record, name, arm, table, path)
                for arm, table in arms.items()
                if arm == STAGE1 or trained.arms is None or arm in trained.arms
            },
        )
        for name, trained in record.study.datasets.items()
    )
    return StudyResults(
        name=record.study.name,
        num_runs=record.num_runs,
        num_finished=record.num_finished,
        heldout_examples=record.study.heldout_examples,
        arms=tuple(arms),
        datasets=datasets,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        with regular(path).open("rb") as raw:
            zipped = raw.peek(2).startswith(b"\x1f\x8b")
            text = read_bounded(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw, str(path))
        found = read_sealed(path, _MEND, text)
    except FileNotFoundError:
        raise SFTKeyError(f"a study's record is not there: {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SFTKeyError(f"{path}: not a readable record of a study: {error}") from None
    if not isinstance(found, dict):
        raise SFTKeyError(f"{path}: expected the record of a study, found a {type(found).__name__}")
    return found


def _arm(record: _Record, dataset: str, name: str, table: Mapping[str, Any], path: Path) -> ArmResults:
    study = record.study
    runs = sorted((r for r in record.runs if (r.dataset, r.arm) == (dataset, name)), key=lambda run: run.seed)
    missing = (m for m in record.missing if (m.dataset, m.arm) == (dataset, name))
    scored: dict[tuple[Part, Purpose], list[_Run]] = {}
    for run in runs:
        for part in run.scores:
            scored.setdefault((part, run.role), []).append(run)
    like = table.get("like", name)
    from_model = name == STAGE1 or (like in NAMED_ARMS and NAMED_ARMS[like].start == "model")
    tables = (table, {} if from_model else study.stage2, study.stage1)
    return ArmResults(
        name=name,
        like=like,
        lr=next((found["lr"] for found in tables if "lr" in found), None),
        runs=tuple(_seed_run(run) for run in runs),
        parts={(part, role): _marks(part, found, path) for (part, role), found in scored.items()},
        missing=tuple(MissingRun(one.seed, one.role, one.why) for one in missing),
    )


def _seed_run(run: _Run) -> SeedRun:
    return SeedRun(
        seed=run.seed,
        purpose=run.role,
        steps=run.steps,
        supervised_tokens=run.supervised_tokens,
        flops=run.flops,
        seconds=run.seconds if run.own is None else {**run.seconds, "sampling": _sum(run.own.seconds.values())},
        curve=tuple(LearningPoint(point.step, point.forced_key_match, point.examples) for point in run.heldout),
    )


def _sum(seconds: Iterable[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if known else None


def _marks(part: Part, runs: list[_Run], path: Path) -> PartMarks:
    marks = {mark: np.array([_unpacked(run, part, mark, runs[0], path) for run in runs]) for mark in ITEM_MARKS}
    return PartMarks(tuple(run.seed for run in runs), marks)


def _unpacked(run: _Run, part: Part, mark: ItemMark, first: _Run, path: Path) -> Marked:
    scores, num = run.scores[part], first.scores[part].n
    where = f"{path}: {run.dataset} seed {run.seed} {run.arm}: {part}"
    if scores.n != num:
        raise SFTKeyError(f"{where}: expected the {num} items of seed {first.seed}, found {scores.n}")
    try:
        packed = np.frombuffer(bytes.fromhex(scores.items[mark]), np.uint8)
    except (KeyError, ValueError):
        raise SFTKeyError(f"{where}: items.{mark}: expected a hexadecimal bit per item") from None
    if len(packed) != -(-num // 8):
        raise SFTKeyError(f"{where}: items.{mark}: expected {-(-num // 8)} bytes for {num} items, found {len(packed)}")
    return np.unpackbits(packed, count=num).astype(np.bool_)
