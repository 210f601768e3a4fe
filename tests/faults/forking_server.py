"""A process with the imports done, which forks a real process per command: a start in milliseconds, not in seconds.

One JSON order per line on stdin, one JSON answer per line on stdout. The child leads a session of its own, and runs the
program's `main` as its console script does, to the interpreter's own end. Run as `python forking_server.py MODULE…`;
`-MODULE` is one that is not to be found.
"""

import importlib
import json
import os
import resource
import select
import sys
import time
from typing import Any

running: dict[int, tuple[int, bytearray]] = {}  # per child: the pipe that it writes into, and what it wrote


def _order() -> dict[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n"):  # unbuffered, so that a child finds nothing that is not its own
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return dict(json.loads(line))


def _read(pipe: int, text: bytearray, seconds: float) -> None:
    if select.select([pipe], [], [], seconds)[0]:
        text += os.read(pipe, 1 << 16)


def _wait(pid: int, seconds: float) -> dict[str, Any]:
    pipe, text = running[pid]
    deadline = time.monotonic() + seconds
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done or time.monotonic() > deadline:
            break
        _read(pipe, text, 0.01)
    if not done:
        return {"code": None, "said": text.decode("utf-8", "replace")}
    while (before := len(text)) or True:
        _read(pipe, text, 0)
        if len(text) == before:
            break
    os.close(pipe)
    del running[pid]
    said, peak = text.decode("utf-8", "replace"), used.ru_maxrss * 1024
    return {"code": os.waitstatus_to_exitcode(status), "said": said, "peak_bytes": peak}


def _group_niceness(niceness: str | None = None) -> str | None:
    """How nice Linux has the session be to others, where it counts by sessions: a new one would begin at 0."""
    try:
        with open("/proc/self/autogroup", "r+" if niceness else "r", encoding="ascii") as file:  # noqa: PTH123
            if niceness is None:
                return file.read().rpartition(" ")[2].strip()
            file.write(niceness)
    except OSError:
        pass
    return None


def _become(order: dict[str, Any], pipe: int) -> None:
    """This process as a fresh one of the command would be."""
    niceness = _group_niceness()
    os.setsid()
    _group_niceness(niceness)
    given = os.open(order["stdin"], os.O_RDONLY)
    for source, target in ((given, 0), (pipe, 1), (pipe, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    os.environ |= order["environment"]
    os.chdir(order["folder"])
    if (size := order["largest_file"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if shift := order["clock_shift"]:
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + shift
        time.time_ns = lambda: real_ns() + shift * 10**9
    sys.argv = list(order["argv"])


def serve() -> str:
    """Answer orders; returns in a child alone, with the module that it is to run."""
    while True:
        order = _order()
        if "wait" in order:
            answer = _wait(order["wait"], order["seconds"])
        else:
            reading, writing = os.pipe()
            if (pid := os.fork()) == 0:
                _become(order, writing)
                return str(order["module"])
            os.close(writing)
            running[pid] = (reading, bytearray())
            answer = {"pid": pid}
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if name.startswith("-"):  # hidden, as the program hides it from itself
            sys.modules[name[1:]] = None  # type: ignore[assignment]
        else:
            importlib.import_module(name)
    os.write(1, b"{}\n")
    importlib.import_module(serve()).main()
