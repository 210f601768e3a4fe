"""A folder that looks like a clone after `make demo`, made by the same programs with fewer rows and steps."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from markdown_blocks import ROOT

TASK = [
    f"--set={option}"
    for option in (
        *("kind=sums", "regime=choice", "min_steps=2", "max_steps=3"),
        *("num_choices=2", "distractor_gap=9", "max_value=10"),
    )
]
FOLDERS = ("benchmarks", "docs", "sftkey_data", "sftkey_eval", "tests", "train")
"""Of the clone; links, so nothing that a block writes may be one of them."""

ARMS = ("answer_only", "continued", "key40")
MODELS = {"stage1": "stage1", "answer_only": "sftkey", "continued": "continued", "key40": "annealed"}
"""Of the recipe, and what the demo calls them."""


def environment(home: Path) -> dict[str, str]:
    """This checkout's code and the programs beside this Python; no network, no GPU, caches below `home`."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}",
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_WAIT_POLICY": "passive",  # threads that wait leave the core to the tests beside this one
    }


def clone(folder: Path, shared: Path, *, trained: bool) -> Path:
    """A new folder with the repository's files, and `demo/` as `make demo` leaves it.

    Args:
        folder: Where to make it; must not exist.
        shared: Where the one `demo/` of a test run is kept, for all its processes.
        trained: Also with the models of the demo.
    """
    demo = _once(shared, "data", _make_data)
    folder.mkdir(parents=True)
    for name in FOLDERS:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(demo / "demo", folder / "demo")
    if trained:
        run = _once(shared, "models", _train) / "demo" / "run"
        for stage, name in MODELS.items():
            shutil.copytree(run / stage / "final", folder / "demo" / "models" / name)
    return folder


def _once(shared: Path, name: str, make: Callable[[Path, Path], None]) -> Path:
    shared.mkdir(parents=True, exist_ok=True)
    out = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of pytest-xdist wait for the first
        if not out.exists():
            partial = shared / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial, shared)
            partial.rename(out)
    return out


def _make_data(folder: Path, shared: Path) -> None:
    def build(name: str, num: int, split: str, *more: str) -> None:
        options = [*TASK, "--set", f"num={num}", "--split", split, "--workers", "1", *more]
        _call(["sftkey-data", "build", "arithmetic", *options, "--out", f"demo/{name}"], folder, shared)

    texts = [*TASK, "--set=num=300", "--out=demo/tokenizer"]
    _call(["sftkey-data", "tokenizer", "--train=arithmetic", *texts], folder, shared)
    tokenizer = ["--tokenizer", "demo/tokenizer"]
    build("train", 300, "train", *tokenizer)
    build("test", 40, "test", *tokenizer)


def _train(folder: Path, shared: Path) -> None:
    (folder / "demo").mkdir()
    for name in ("tokenizer", "train", "test"):
        (folder / "demo" / name).symlink_to(shared / "data" / "demo" / name)
    few = {"heldout_examples": 8, "stage.stage1.steps": 40, "stage.stage1.eval_every": 0}
    few |= {f"stage.{arm}.steps": 2 for arm in ARMS}
    few |= {f"stage.{stage}.batch_size": 16 for stage in ("stage1", *ARMS)}
    _call(["sftkey-train", "run", f"{ROOT}/train/recipes/demo.toml", *_settings(few)], folder, shared)


def _settings(values: Mapping[str, int]) -> Sequence[str]:
    return [f"--set={name}={value}" for name, value in values.items()]


def _call(command: Sequence[str], folder: Path, shared: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment(shared), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"
