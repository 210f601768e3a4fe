"""Numbers to TensorBoard, W&B, MLflow and what else accelerate knows; one that fails is left out, and the run goes on.

accelerate is loaded where a tracker is named, as nothing else needs it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sftkey_data.console import say
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extras import require


def check_trackers(names: Sequence[str], extra: str) -> None:
    """Refuse, before anything is computed, trackers that accelerate does not know or that are not installed.

    Args:
        names: Of trackers.
        extra: That installs accelerate.

    Raises:
        SFTKeyError: Names the nearest known one, or what to install.
    """
    if not names:
        return
    require("trackers", extra, "accelerate")
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
        names: Of those to open; none, as on every rank but the first.
        run_name: What the run is called there.
        folder: Where those write that write files.
        settings: To be recorded.
        on_cpu: Whether the run computes on the CPU.
    """

    def __init__(
        self, names: Sequence[str], *, run_name: str, folder: Path, settings: Mapping[str, Any], on_cpu: bool
    ) -> None:
        self._open: dict[str, Any] = {}
        self._failed: set[str] = set()
        self._names, self._run_name, self._folder = names, run_name, folder
        self._settings, self._on_cpu = settings, on_cpu

    def start(self) -> None:
        """Open what is not open yet; some write into the run's directory, which must be there and be recorded."""
        if not self._names or self._open:
            return
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=self._on_cpu)  # accelerate's trackers log through it
        for name in self._names:
            if name in self._failed:
                continue
            kind = LOGGER_TYPE_TO_CLASS[name]
            folder = {"logging_dir": self._folder} if kind.requires_logging_directory else {}
            with self._may_fail(name), redirect_stdout(sys.stderr):  # some greet the user, stdout is for the summaries
                tracker = kind(self._run_name, **folder)
                tracker.main_process_only = False  # only the first rank opens them
                tracker.start()
                self._open[name] = tracker
                tracker.store_init_configuration(dict(flat_values("", self._settings)))

    def log(self, values: Mapping[str, Any], *, prefix: str, step: int) -> None:
        """Send the numbers among nested values, under the names that begin with the prefix."""
        numbers = {name: value for name, value in flat_values(prefix, values) if isinstance(value, (int, float))}
        for name, tracker in list(self._open.items()):
            with self._may_fail(name), redirect_stdout(sys.stderr):
                tracker.log(numbers, step=step)

    def close(self) -> None:
        """Write what is still held back."""
        for name, tracker in list(self._open.items()):
            with self._may_fail(name), redirect_stdout(sys.stderr):
                tracker.finish()

    @contextmanager
    def _may_fail(self, name: str) -> Iterator[None]:
        """Whatever a tracker raises is one line, and it is left out from then on: the run's own files have it all."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - programs of others raise what they like
            self._open.pop(name, None)
            self._failed.add(name)
            said = next(iter(str(error).splitlines()), "")
            say(f"tracker {name!r} failed ({type(error).__name__}: {said}); the run goes on without it")


def flat_values(prefix: str, value: Any) -> Iterator[tuple[str, bool | int | float | str]]:
    """Nested settings and values as `a/b/0/c`; what is no plain value is written as text."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat_values(f"{prefix}{key}" + ("/" if isinstance(inner, (Mapping, list, tuple)) else ""), inner)
    else:
        yield prefix, value if isinstance(value, (bool, int, float, str)) else str(value)
