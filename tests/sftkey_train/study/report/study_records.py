"""Records of studies that were never trained: arms with shares as they are wanted, drawn from a seed."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftkey_train.study.report.study_results import ITEM_MARKS

Marks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class FakeArm:
    """What an arm is to have: shares of items, spread of its accuracy over the seeds, Keys given the gold CoT."""

    correct: float
    slip: float = 0.0
    valid: float = 1.0
    spread: float = 0.0
    curve: Sequence[float] = (0.0, 1.0)
    table: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 100
    validation: float | None = None  # accuracy there, where it is another


def fake_record(
    arms: Mapping[str, FakeArm],
    *,
    claim: Sequence[int] = (0, 1, 2),
    tuning: Sequence[int] = (),
    datasets: Sequence[str] = ("sums",),
    num_items: int = 200,
    finished: int | None = None,
) -> dict[str, Any]:
    """study.json of a study with these arms, `stage1` among them, as if only the first `finished` runs were done."""
    runs = [
        fake_run(dataset, seed, "claim" if seed in claim else "tuning", name, arm, num_items)
        for dataset in datasets
        for seed in (*claim, *tuning)
        for name, arm in arms.items()
    ]
    kept = runs[:finished]
    return {
        "study": {
            "name": "fake",
            "out": "runs/fake",
            "heldout_examples": 50,
            "stage1": {"steps": 100, "lr": 1e-3},
            "stage2": {},
            "arms": {name: dict(arm.table) for name, arm in arms.items() if name != "stage1"},
            "datasets": {name: {} for name in datasets},
        },
        "num_runs": len(runs),
        "num_finished": len(kept),
        "runs": kept,
    }


def fake_run(dataset: str, seed: int, role: str, name: str, arm: FakeArm, num_items: int) -> dict[str, Any]:
    """A run's result; the same arm, seed and set draw the same."""
    rng = np.random.default_rng([seed, *dataset.encode(), *name.encode()])
    shift = arm.spread * rng.normal()
    accuracies = {"validation": arm.correct if arm.validation is None else arm.validation, "test": arm.correct}
    parts = {part: accuracies[part] for part in (("validation", "test") if role == "claim" else ("validation",))}
    return {
        "dataset": dataset,
        "seed": seed,
        "role": role,
        "arm": name,
        "steps": arm.steps,
        "tokens": 48_000,
        "supervised_tokens": 21_000,
        "flops": 2.5e12,
        "seconds": {"training": 60.0, "generation": 20.0, "scoring": 1.0, "other": None},
        "heldout": [
            {"step": round(arm.steps * at), "forced_key_match": value, "loss_by_region": {"key": 1.0}}
            for at, value in zip(np.linspace(0, 1, len(arm.curve)), arm.curve, strict=True)
        ],
        "scores": {part: scores(drawn_marks(rng, arm, mean + shift, num_items)) for part, mean in parts.items()},
    }


def drawn_marks(rng: np.random.Generator, arm: FakeArm, correct: float, num_items: int) -> Marks:
    """Items of which the first are easy for every arm, those in the middle are slips, and the last are hard."""
    at = np.clip(np.linspace(0, 1, num_items) + rng.normal(0, 0.05, num_items), 0, 1)
    valid = rng.random(num_items) < arm.valid
    right, reached = (at <= correct), (at <= correct + arm.slip)
    return {
        "format_valid": valid,
        "correct": right & valid,
        "lenient_correct": right,
        "slip": reached & ~right & valid,
    }


def scores(marks: Marks) -> dict[str, Any]:
    """As a result has them, a bit per item."""
    items = {name: np.packbits(marks[name]).tobytes().hex() for name in ITEM_MARKS}
    return {"n": len(marks["correct"]), "items": items}


def written(record: Mapping[str, Any], path: Path) -> Path:
    """The record as a file, compressed if its name says so."""
    content = json.dumps(record).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
