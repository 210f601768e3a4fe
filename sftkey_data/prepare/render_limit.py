"""A limit for code that comes with data: a chat template is a program, and may never end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MAX_RENDER_SECONDS = 20.0
"""Of computing, for one conversation; real templates take a thousandth of one."""


class EndlessRender(BaseException):
    """The limit was reached; no `Exception`, which templates and those who render them catch."""


@contextmanager
def render_limit() -> Iterator[None]:
    """Ends what runs inside after `MAX_RENDER_SECONDS` of this process's computing, however busy the machine is.

    Outside of the main thread, where Python delivers no signals, there is no limit.

    Raises:
        EndlessRender: It was ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_RENDER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise EndlessRender
