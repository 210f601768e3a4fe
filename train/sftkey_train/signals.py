"""SIGINT and SIGTERM during a run: the first waits for the end of a step where there is one, else it stops at once."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sftkey_data.console import tell

HANDLED = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """The two signals while it is entered; a signal that the process ignores, as under nohup, stays ignored.

    Inside `held` the first one only sets `asked`, and a second one raises `KeyboardInterrupt`. Outside the first one
    does. One that came too late to stop anything here stops what this is part of. In a process of a pool a further
    SIGTERM says nothing new: pools send several, and end for good by SIGKILL.
    """

    def __init__(self) -> None:
        self.asked = False
        self.code = 128 + signal.SIGINT  # what a shell shows for the signal that came
        self._held = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            before = {number: signal.getsignal(number) for number in HANDLED}
            self._before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
            for number in self._before:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        outer = getattr(self._before.get(signal.SIGINT), "__self__", None)
        if self.asked and error is None and isinstance(outer, StopSignals):
            outer._receive(self.code - 128, None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Here the first signal waits for somebody to look at `asked`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        self.code = 128 + number
        if again and number == signal.SIGTERM and multiprocessing.parent_process() is not None:
            return
        if again or not self._held:
            raise KeyboardInterrupt
        if sys.stderr.isatty():
            tell("\nstopping after this step, which is then saved; once more stops at once", err=True)
