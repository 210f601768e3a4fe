"""How much memory a file may take to be read, so that a small one that unpacks to very much cannot fill the machine.

What a file says of its own sizes is checked where it says it; this is for what it does not say, or says wrong.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sftkey_data.errors import SFTKeyError

T = TypeVar("T")

SPARE_BYTES = 3 * 2**29
"""For one step of reading, whatever the size of the file; rows of real data take a hundredth. Arrow asks the machine
for 1 GiB at once and hands out pieces of it, so less would refuse what it has not used."""

TIMES_ITS_SIZE = 8
"""Times the bytes on disk, in addition: a large file may take much, and what it holds is larger as Python's objects."""

_STATM = Path("/proc/self/statm")  # of Linux alone, as is the limit: elsewhere nothing is bounded
_lock = threading.Lock()
_windows: list[tuple[int, int]] = []  # the limits from before the windows that are open, of all threads


@contextmanager
def bounded_memory(name: str, disk_bytes: int = 0) -> Iterator[None]:
    """Let what is done inside take no more memory than a file of that size can need.

    The bound is the process's own limit on its data (RLIMIT_DATA), set to what it has now and what may be added, and
    given back at the end; so no process should be started inside.

    Args:
        name: Of the file, for the message.
        disk_bytes: Its size as it lies there.

    Raises:
        SFTKeyError: It takes more, or there is no more.
    """
    allowed = SPARE_BYTES + TIMES_ITS_SIZE * disk_bytes
    _open_window(allowed)
    try:
        yield
    except MemoryError:
        limit = f"{allowed / 2**30:.1f} GiB of memory"
        raise SFTKeyError(f"{name}: takes more than {limit}, expected less of what has its size") from None
    finally:
        _close_window()


def bounded_steps(steps: Iterator[T], name: str, disk_bytes: int = 0) -> Iterator[T]:
    """The same items, each of them made with no more memory than `bounded_memory` allows.

    Raises:
        SFTKeyError: One takes more.
    """
    end = object()
    while True:
        with bounded_memory(name, disk_bytes):
            step = next(steps, end)
        if step is end:
            return
        yield step  # type: ignore[misc]


def _open_window(allowed: int) -> None:
    if not _STATM.exists():
        return
    import resource

    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = int(_STATM.read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE") + allowed
        if _windows:  # of another thread, whose own must not become smaller
            wanted = wanted if soft == resource.RLIM_INFINITY else max(soft, wanted)
        _windows.append((soft, hard))
        given = _windows[0][0]  # what the process was started with is not widened
        if given != resource.RLIM_INFINITY:
            wanted = min(wanted, given)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _close_window() -> None:
    if not _windows:
        return
    import resource

    with _lock:
        limits = _windows[0] if len(_windows) == 1 else None
        _windows.pop()
        if limits is not None:
            resource.setrlimit(resource.RLIMIT_DATA, limits)
