"""Metrics to TensorBoard, W&B, trackio and what else accelerate knows, beside metrics.jsonl.

accelerate is loaded where a recipe names a tracker, as no other run needs it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from typing import Any

from sftkey_data.console import say
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extras import require
from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.recipe import Recipe


def check_trackers(names: Sequence[str]) -> None:
    """Refuse, before the first step, trackers that accelerate does not know or that are not installed.

    Raises:
        SFTKeyError: Names the nearest known one, or what to install.
    """
    if not names:
        return
    require("trackers", "train", "accelerate")
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(LOGGER_TYPE_TO_CLASS)
            raise SFTKeyError(f"trackers: unknown {name!r}{nearest(name, LOGGER_TYPE_TO_CLASS)}; known: {known}")
        module = LOGGER_TYPE_TO_CLASS[name].__module__
        if module.startswith("accelerate.") and find_spec(name) is None:
            raise SFTKeyError(f"trackers: {name!r} is not installed: pip install {name.replace('_', '-')}")


class Trackers:
    """The trackers of a run, open from `start` to `close`.

    Args:
        recipe: Names them; its settings are recorded. None: no trackers, as on every rank but the first.
        steps_before: How many steps all earlier stages have, by stage; some trackers want steps that only grow.
    """

    def __init__(self, recipe: Recipe | None, steps_before: Mapping[str, int]) -> None:
        self._open: dict[str, Any] = {}
        self._failed: set[str] = set()
        self._recipe, self._steps_before = recipe, steps_before

    def start(self) -> None:
        """Open what is not open yet; some write into the run's directory, which must be there and be recorded."""
        recipe = self._recipe
        if recipe is None or not recipe.trackers or self._open:
            return
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=recipe.device == "cpu")  # accelerate's trackers log through it
        for name in recipe.trackers:
            if name in self._failed:
                continue
            kind = LOGGER_TYPE_TO_CLASS[name]
            folder = {"logging_dir": recipe.out} if kind.requires_logging_directory else {}
            with self._may_fail(name), redirect_stdout(sys.stderr):  # some greet the user, stdout is for the summaries
                tracker = kind(recipe.name, **folder)
                tracker.main_process_only = False  # only the first rank opens them
                tracker.start()
                self._open[name] = tracker
                tracker.store_init_configuration(dict(_flat("", recipe.resolved())))

    def log(self, row: MetricsRow) -> None:
        """Send one row of metrics.jsonl; its values are called `STAGE/KIND/NAME`, the steps of all stages count on."""
        prefix = f"{row['stage']}/{row['kind']}/"
        numbers = {name: value for name, value in _flat(prefix, row) if isinstance(value, (int, float))}
        for name, tracker in list(self._open.items()):
            with self._may_fail(name), redirect_stdout(sys.stderr):
                tracker.log(numbers, step=self._steps_before[row["stage"]] + row["step"])

    def close(self) -> None:
        """Write what is still held back."""
        for name, tracker in list(self._open.items()):
            with self._may_fail(name), redirect_stdout(sys.stderr):
                tracker.finish()

    @contextmanager
    def _may_fail(self, name: str) -> Iterator[None]:
        """Whatever a tracker raises is one line, and it is left out from then on: metrics.jsonl has it all."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - programs of others raise what they like
            self._open.pop(name, None)
            self._failed.add(name)
            said = next(iter(str(error).splitlines()), "")
            say(f"tracker {name!r} failed ({type(error).__name__}: {said}); the run goes on without it")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, bool | int | float | str]]:
    """Nested settings and values as `a/b/0/c`; what is no plain value is written as text."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}{key}" + ("/" if isinstance(inner, (Mapping, list, tuple)) else ""), inner)
    else:
        yield prefix, value if isinstance(value, (bool, int, float, str)) else str(value)
