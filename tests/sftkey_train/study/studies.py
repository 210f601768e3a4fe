"""A tiny study as TOML tables, ways to run it, and what of its figures no clock has measured."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sftkey_data.storage.sealed_json import read_sealed
from sftkey_train.study.study_runner import open_study, run_study

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 180
SUMS = {"kind": "sums", "regime": "choice", "max_steps": 2, "num_choices": 3, "distractor_gap": 4, "max_value": 20}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tables(out: Path) -> dict[str, Any]:
    """Two arms, one claim seed and one tuning seed, a generated set, a model of two layers; to be changed."""
    return {
        "name": "tiny",
        "out": str(out),
        "seeds": {"claim": [0], "tuning": [7]},
        "heldout_examples": 8,
        "model": {"config": {"model_type": "llama", **SIZES, "max_position_embeddings": 256}},
        "datasets": {
            "sums": {"arithmetic": dict(SUMS), "sizes": {"train": 64, "validation": 8, "test": 12}},
        },
        "stage1": {"steps": 6, "batch_size": 8, "lr": 5e-3, "save_every": 2},
        "stage2": {"steps": 4},
        "arms": {"continued": {}, "sftkey": {"lr": 1e-3}},
        "evaluation": {"max_new_tokens": 6},
    }


def write(path: Path, study: Mapping[str, Any]) -> Path:
    """The tables as a study file."""
    path.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in study.items()) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def finished(path: Path, **how: Any) -> list[dict[str, Any]]:
    """Results of the runs that a command would end with, in this process."""
    return list(run_study(open_study(path, how.get("only", ())), **how))


def begin(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "sftkey_train.cli", "study", str(path), "--workers", "1", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(process: "subprocess.Popen[str]", there: Callable[[], bool]) -> bool:
    """SIGKILL as soon as something is there; whether it was still running then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and not there() and time.monotonic() < deadline:
        time.sleep(0.002)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def figures(out: Path) -> dict[str, Any]:
    """study.json without what a clock has measured and where it lies."""
    record: dict[str, Any] = read_sealed(out / "study.json", "")
    record["study"].pop("out")
    for run in record["runs"]:
        run.pop("seconds")
        run.get("own", {}).pop("seconds", None)
    return record


def in_work(out: Path, num: int, process: "subprocess.Popen[str]") -> None:
    """Waits until so many runs have logged a step."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if sum('"train"' in path.read_text() for path in out.glob("runs/**/metrics.jsonl")) >= num:
            return
        time.sleep(0.01)
