"""Ctrl-C and SIGTERM: the step is finished and saved, a second one stops at once, and what is said to be kept is."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows, run_together

from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_train import loop
from sftkey_train import recipe_run as run_module
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
from sftkey_train.signals import StopSignals

Write = Callable[[dict[str, Any]], Path]
ON, ANEW = "the same command goes on from there", "the same command begins it anew"


@pytest.fixture
def run(tables: dict[str, Any], write_recipe: Write) -> Callable[..., None]:
    """Runs the recipe to its end."""

    def call(*overrides: str, overwrite: bool = False) -> None:
        list(run_recipe(load_recipe(write_recipe(tables), overrides), overwrite=overwrite))

    return call


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has this process get signals in the middle of a step, when its loss is known."""

    def at(stage: str, step: int, *numbers: int) -> None:
        clip, calls = loop.clip_gradients, iter(range(1, 1000))
        offset = 0 if stage == "full" else 6

        def clip_and_signal(*arguments: Any) -> torch.Tensor:
            if next(calls) == offset + step:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return clip(*arguments)

        monkeypatch.setattr(loop, "clip_gradients", clip_and_signal)

    return at


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
def test_a_signal_saves_after_its_step_and_the_run_ends_as_an_uninterrupted_one(
    number: int, code: int, run: Callable[..., None], signalled: Callable[..., None], tables: dict[str, Any]
) -> None:
    out = Path(tables["out"])
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    signalled("answer", 3, number)
    with pytest.raises(Stopped) as caught:
        run()
    assert (caught.value.kept, caught.value.code) == (f"stage 'answer' is saved after step 3, {ON}", code)
    assert [path.name for path in (out / "answer").iterdir()] == ["checkpoint-3"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    run()
    whole = out.with_name("whole")
    run(f"out={whole}")
    assert metric_rows(out) == metric_rows(whole)
    weights, expected = final_weights(out), final_weights(whole)
    assert [name for name, weight in expected.items() if not torch.equal(weights[name], weight)] == []


def test_a_second_signal_stops_at_once_and_what_is_said_to_be_kept_is_the_checkpoint_before(
    run: Callable[..., None], signalled: Callable[..., None], tables: dict[str, Any]
) -> None:
    signalled("full", 4, signal.SIGTERM, signal.SIGINT)
    with pytest.raises(Stopped) as caught:
        run()
    assert (caught.value.kept, caught.value.code) == (f"stage 'full' is saved after step 2, {ON}", 130)
    assert [row["step"] for row in MetricsLog(Path(tables["out"]) / "metrics.jsonl").rows()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("full", f"nothing of stage 'full' is saved, {ANEW}"),
        (
            "answer",
            "nothing of stage 'answer' is saved, the same command begins it anew; the stages before it are finished",
        ),
    ],
)
def test_where_nothing_is_saved_it_says_so(
    stage: str, said: str, run: Callable[..., None], signalled: Callable[..., None]
) -> None:
    signalled(stage, 1, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Stopped) as caught:
        run()
    assert caught.value.kept == said


def test_with_overwrite_it_says_that_the_same_command_would_not_go_on(
    run: Callable[..., None], signalled: Callable[..., None]
) -> None:
    signalled("full", 3, signal.SIGINT)
    with pytest.raises(Stopped) as caught:
        run(overwrite=True)
    assert (
        caught.value.kept
        == "stage 'full' is saved after step 3, the same command without --overwrite goes on from there"
    )


def test_a_signal_while_it_generates_at_the_end_saves_the_last_step(
    run: Callable[..., None], tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"][0] |= {"save_every": 4, "generate_at_end": True}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "generate_if_possible", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Stopped) as caught:
            run()
    assert caught.value.kept == f"stage 'full' is saved after step 6, {ON}"


def ends_signalled(number: int, *, fails: bool = False) -> None:
    """A run that is at its end when the signal comes."""
    with StopSignals() as signals, signals.held():
        signal.raise_signal(number)
        if fails:
            raise SFTKeyError("disk full")


def test_a_signal_as_a_run_ends_stops_what_the_run_is_part_of() -> None:
    with StopSignals() as study:
        with pytest.raises(KeyboardInterrupt):
            ends_signalled(signal.SIGTERM)
        assert (study.asked, study.code) == (True, 143)
    ends_signalled(signal.SIGTERM)  # of a run alone, which has ended


def test_an_error_after_a_signal_is_what_is_said() -> None:
    with StopSignals(), pytest.raises(SFTKeyError, match="disk full"):
        ends_signalled(signal.SIGINT, fails=True)


def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert not signals.asked
    finally:
        signal.signal(signal.SIGINT, before)


def _train_signalled(recipe: Path, stopped_rank: int) -> None:
    """What each rank does: one of them gets the signal in its third step."""
    clip, calls = loop.clip_gradients, iter(range(1, 1000))

    def clip_and_signal(*arguments: Any) -> torch.Tensor:
        if next(calls) == 3 and int(os.environ["RANK"]) == stopped_rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return clip(*arguments)

    loop.clip_gradients = clip_and_signal  # type: ignore[assignment]
    try:
        list(run_recipe(load_recipe(recipe)))
    except Stopped as stopped:
        os._exit(7 if stopped.kept else 8)


@pytest.mark.slow
def test_all_ranks_stop_after_the_step_in_which_one_gets_the_signal(
    tables: dict[str, Any], write_recipe: Write
) -> None:
    assert run_together(2, _train_signalled, write_recipe(tables), 1) == [7, 8]
    assert [path.name for path in (Path(tables["out"]) / "full").iterdir()] == ["checkpoint-3"]


def test_a_signal_while_the_result_is_written_waits_until_it_is_there(
    run: Callable[..., None], tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"][0]["save_every"] = 0
    finish = run_module.finish_stage

    def signal_and_finish(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "finish_stage", signal_and_finish)
        with pytest.raises(Stopped) as caught:
            run()
    assert caught.value.kept == f"stage 'answer' is saved after step 1, {ON}"
    assert (Path(tables["out"]) / "full" / "final").is_dir()
