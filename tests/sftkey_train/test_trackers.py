"""Metrics go to accelerate's trackers, which are known and installed before the first step."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from sftkey_data.errors import SFTKeyError
from sftkey_train.recipe_file import load_recipe
from sftkey_train.run import run_recipe
from sftkey_train.trackers import check_trackers

Write = Callable[[dict[str, Any]], Path]


class _ListTracker(GeneralTracker):
    """A tracker of the user's own, as accelerate lets one register."""

    name = "lists"
    requires_logging_directory = True
    seen: ClassVar[list[Any]] = []

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        self.seen.append(("start", run_name, Path(logging_dir).name))

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.seen.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None, **_: Any) -> None:
        self.seen.append((step, values))

    def finish(self) -> None:
        self.seen.append(("finish",))


def test_every_row_is_sent_with_steps_that_count_on(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "lists", _ListTracker)
    tables["trackers"] = ["lists"]
    list(run_recipe(load_recipe(write_recipe(tables))))
    started, (_, settings), *logged, finished = _ListTracker.seen
    assert (started, finished) == (("start", "tiny", "run"), ("finish",))
    assert settings["stage/1/loss_on"] == "answer"
    assert [step for step, _ in logged] == list(range(1, 11))
    assert {"full/train/loss", "full/train/loss_by_region/key"} <= logged[0][1].keys()
    assert "answer/train/loss" in logged[-1][1]
    assert all(isinstance(value, (int, float)) for _, values in logged for value in values.values())


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(SFTKeyError, match=r"trackers: unknown 'tensorbord' \(did you mean 'tensorboard'\?\); known: "):
        check_trackers(["tensorbord"])


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_tracker_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(SFTKeyError) as caught:
        check_trackers(["tensorboard"])
    assert str(caught.value) == "trackers: 'tensorboard' is not installed: pip install tensorboard"
