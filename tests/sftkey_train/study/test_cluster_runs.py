"""A study as tasks of a Ray cluster: the figures of one process, and one line where the cluster does not fit."""

import importlib.util
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from studies import begin, figures, finished, in_work, tables, write
from typer.testing import CliRunner

from sftkey_data.errors import SFTKeyError
from sftkey_train.cli import app
from sftkey_train.study.cluster_runs import run_on_cluster
from sftkey_train.study.study_plan import plan_runs
from sftkey_train.study.study_runner import open_study
from sftkey_train.study.study_sets import make_sets

PATIENCE_SECONDS = 600


@pytest.fixture(autouse=True)
def _one_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def refused(path: Path) -> str:
    process = begin(path, "--engine", "ray")
    said, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, errors
    assert not said
    return errors


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_tasks_of_a_cluster_give_the_figures_of_one_process(tmp_path: Path) -> None:
    outs = {engine: tmp_path / engine for engine in ("local", "ray")}
    studies = {
        engine: tables(out) | {"arms": {"continued": {}, "rft": {"keep": "all"}}} for engine, out in outs.items()
    }
    finished(write(tmp_path / "local.toml", studies["local"]))
    process = begin(write(tmp_path / "ray.toml", studies["ray"]), "--engine", "ray")
    said, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    *_, report = said.splitlines()
    assert len(said.splitlines()) == len(figures(outs["local"])["runs"]) + 1
    assert "report" in json.loads(report)
    assert figures(outs["ray"]) == figures(outs["local"])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_a_run_that_fits_no_machine_is_refused_and_does_not_wait(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "study.toml", tables(tmp_path / "out") | {"threads": 4096}))
    assert "--engine ray: a run needs 4096 CPUs (threads) and 0 GPUs, no machine has both; found" in said


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_folder_says_so(ray_alone: Any, tmp_path: Path) -> None:
    opened = open_study(write(tmp_path / "study.toml", tables(tmp_path / "out")))
    runs = plan_runs(opened.study, opened.arms, make_sets(opened.study, tmp_path / "sets"))
    elsewhere = tmp_path / "of another machine" / ".sftkey-study"
    try:
        with pytest.raises(SFTKeyError, match=r"does not see .*of another machine.*that all machines .* share"):
            list(run_on_cluster(print, runs[:2], elsewhere, threads=1, gpus=0))
    finally:
        ray_alone.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_ctrl_c_ends_the_tasks_of_a_cluster_that_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    out, long = tmp_path / "out", {"steps": 100_000, "batch_size": 8, "lr": 5e-3, "save_every": 2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        process = begin(write(tmp_path / "study.toml", tables(out) | {"stage1": long}), "--engine", "ray")
        in_work(out, 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        kept = "what those in work have saved is kept, the same command goes on from there"
        assert (process.returncode, errors.splitlines()[-1]) == (
            130,
            f"interrupted: 0 of 6 runs are finished; {kept}",
        )
        time.sleep(2)
        logs = {path: path.read_bytes() for path in out.glob("runs/**/metrics.jsonl")}
        time.sleep(2)
        assert {path: path.read_bytes() for path in logs} == logs
        assert len(logs) == 2
    finally:
        cluster.shutdown()


def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    result = CliRunner().invoke(
        app, ["study", str(write(tmp_path / "s.toml", tables(tmp_path / "o"))), "--engine", "ray"]
    )
    assert str(result.exception) == '--engine ray needs ray, not installed: pip install "sftkey[ray]"'
    assert not (tmp_path / "out").exists()
