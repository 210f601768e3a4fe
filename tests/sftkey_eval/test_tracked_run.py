"""Numbers of `sftkey-eval run` at accelerate's trackers."""

import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import call

from sftkey_data.errors import SFTKeyError


def run(model: Path, data: Path, out: Path, *flags: object) -> Any:
    command = ("run", "--model", model, "--data", data, "--out", out, "--limit", 2, "--max-new-tokens", 4)
    return call(*command, "--device", "cpu", "--workers", 1, *flags)


def test_tensorboard_reads_back_what_the_report_holds(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "mine.py").write_text("def seven(verdict):\n    return 7\n")
    done = run(tiny_model, prepared, tmp_path / "out", "--tracker", "tensorboard", "--metric", tmp_path / "mine.py")
    assert done.exit_code == 0, done.output
    name = json.loads((tmp_path / "out" / "run.json").read_text())["name"]
    events = EventAccumulator(str(tmp_path / "out" / name))
    events.Reload()
    (made,) = json.loads((tmp_path / "out" / "report" / "report.json").read_text())["runs"]
    found = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert found["eval/items"] == 2
    assert found["eval/format"] == made["format"]["value"]
    assert found["eval/error_classes/no_answer"] == made["error_classes"]["no_answer"]["value"]
    assert found["eval/metrics/seven"] == 7
    with pytest.raises(SFTKeyError, match=r"trackers: unknown 'tensorbord' \(did you mean 'tensorboard'"):
        raise run(tiny_model, prepared, tmp_path / "other", "--tracker", "tensorbord").exception
    assert not (tmp_path / "other").exists()


def test_a_tracker_that_fails_stops_no_run(
    tiny_model: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

    class Failing(GeneralTracker):
        name = "failing"
        requires_logging_directory = False

        def __init__(self, _: str) -> None:
            raise ConnectionError("no route\nto host")

    lines: list[str] = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "failing", Failing)
    monkeypatch.setattr("sftkey_data.publish.trackers.say", lines.append)
    done = run(tiny_model, prepared, tmp_path / "out", "--tracker", "failing")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "report" / "report.html").exists()
    assert lines == ["tracker 'failing' failed (ConnectionError: no route); the run goes on without it"]
