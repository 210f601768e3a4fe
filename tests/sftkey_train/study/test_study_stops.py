"""Ctrl-C and SIGTERM in a study: every run in work saves its step, in each process, and the line says what is kept."""

import signal
from pathlib import Path
from typing import Any

import pytest
from studies import PATIENCE_SECONDS, begin, in_work, tables, write


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_every_run_in_work_saves_its_step(jobs: int, number: int, code: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    long: dict[str, Any] = {"stage1": {"steps": 100_000, "batch_size": 8, "lr": 5e-3, "save_every": 0}}
    process = begin(write(tmp_path / "study.toml", tables(out) | long), "--workers", str(jobs))
    in_work(out, jobs, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    saved = [int(path.name.removeprefix("checkpoint-")) for path in out.glob("runs/**/checkpoint-*")]
    assert (process.returncode, len(saved), min(saved) > 0) == (code, jobs, True)
    what = f"of the one in work stage 'stage1' is saved after step {saved[0]}, the same command goes on from there"
    if jobs > 1:
        what = "what those in work have saved is kept, the same command goes on from there"
    assert errors.splitlines()[-1] == f"interrupted: 0 of 6 runs are finished; {what}"
