"""Metrics go to accelerate's trackers, which are known and installed before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from some_slow import some_slow

from sftkey_data.errors import SFTKeyError
from sftkey_data.publish.trackers import check_trackers
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]


class _ListTracker(GeneralTracker):
    """A tracker of the user's own, as accelerate lets one register."""

    name = "lists"
    requires_logging_directory = True
    seen: ClassVar[list[Any]] = []

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        self.seen.append(("start", run_name, Path(logging_dir).name))
        print("welcome")  # noqa: T201 - as some do

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.seen.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None, **_: Any) -> None:
        self.seen.append((step, values))

    def finish(self) -> None:
        print("good-bye")  # noqa: T201
        self.seen.append(("finish",))


def test_every_row_is_sent_with_steps_that_count_on(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "lists", _ListTracker)
    tables["trackers"] = ["lists"]
    list(run_recipe(load_recipe(write_recipe(tables))))
    printed = capsys.readouterr()
    assert (printed.out, "welcome" in printed.err, "good-bye" in printed.err) == ("", True, True)
    started, (_, settings), *logged, finished = _ListTracker.seen
    assert (started, finished) == (("start", "tiny", "run"), ("finish",))
    assert settings["stage/1/loss_on"] == "answer"
    assert [step for step, _ in logged] == list(range(1, 11))
    assert {"full/train/loss", "full/train/loss_by_region/key"} <= logged[0][1].keys()
    assert "answer/train/loss" in logged[-1][1]
    assert all(isinstance(value, (int, float)) for _, values in logged for value in values.values())


@pytest.mark.parametrize(
    "deed", some_slow(["__init__", "start", "store_init_configuration", "log", "finish"], quick=["__init__", "log"])
)
@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), SystemExit(1)], ids=["error", "exit"])
def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    deed: str,
    error: BaseException,
    tables: dict[str, Any],
    write_recipe: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    lines: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        calls.append(deed)
        raise error

    failing = type("Failing", (_ListTracker,), {deed: fail, "seen": []})
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "lists", failing)
    monkeypatch.setattr("sftkey_data.publish.trackers.say", lines.append)
    tables |= {"trackers": ["lists"], "stage": [stage | {"steps": 2} for stage in tables["stage"]]}
    assert [summary["steps"] for summary in run_recipe(load_recipe(write_recipe(tables)))] == [2, 2]
    said = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    assert calls == [deed]
    assert lines == [f"tracker 'lists' failed ({said}); the run goes on without it"]


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"trackers: unknown 'tensorbord' \(did you mean 'tensorboard'\?\); known: "):
        check_trackers(["tensorbord"], "train")


def test_a_tracker_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(SFTKeyError) as caught:
        check_trackers(["comet_ml"], "train")
    assert str(caught.value) == "trackers: 'comet_ml' is not installed: pip install comet-ml"


def test_tensorboard_reads_back_what_metrics_jsonl_holds(tables: dict[str, Any], write_recipe: Write) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tables |= {"trackers": ["tensorboard"], "heldout": tables["data"], "heldout_examples": 5}
    recipe = load_recipe(write_recipe(tables))
    list(run_recipe(recipe))
    rows = MetricsLog(recipe.out / "metrics.jsonl").rows()
    events = EventAccumulator(str(recipe.out / "tiny"))
    events.Reload()
    for stage, before in (("full", 0), ("answer", 6)):
        for kind, value in (("train", "loss"), ("train", "grad_norm"), ("heldout", "forced_key_match")):
            written = [(e.step, e.value) for e in events.Scalars(f"{stage}/{kind}/{value}")]
            expected = [(before + r["step"], r[value]) for r in rows if (r["stage"], r["kind"]) == (stage, kind)]
            assert written == [(step, pytest.approx(number, rel=1e-6)) for step, number in expected]
            assert len(written) > 1


def test_a_run_that_fails_before_its_first_step_leaves_nothing_of_a_tracker(
    tables: dict[str, Any], fail: Callable[..., str], model_dir: Path
) -> None:
    (model_dir / "model.safetensors").unlink()
    tables |= {"trackers": ["tensorboard"], "model": {"path": str(model_dir)}}
    assert fail().startswith(f"model '{model_dir}'")
