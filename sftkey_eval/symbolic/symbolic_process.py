"""A worker process for symbolic work: started at the first request, killed at a limit, replaced after many requests.

One per process, shared by its threads. It needs no `__main__` guard, survives a fork on the parent's side (the child
starts its own), and ends when the process that started it does, however that ends.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sftkey_eval.symbolic.symbolic_limits import MAX_REQUESTS, START_SECONDS, WALL_SECONDS

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
WORKER = "sftkey_eval.symbolic.symbolic_worker"


class _DiedError(Exception):
    pass


class SymbolicProcess:
    """At most one worker process, asked by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._served = 0
        self._unavailable = False

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        return self._worker.pid if self._worker else None

    def ask(self, request: dict[str, Any]) -> str:
        """The worker's outcome for a request, or how it died: `timeout`, `memory`, `crash`.

        `unavailable` where no worker can be started, as without the extra `eval`; that is tried once.
        """
        with self._lock:
            if self._unavailable:
                return "unavailable"
            if self._served >= MAX_REQUESTS:
                self._stop()
            try:
                worker = self._worker if self._worker and self._worker.poll() is None else self._start()
            except _DiedError:
                self._unavailable = True
                self._stop()
                return "unavailable"
            self._served += 1
            try:
                reply = self._exchange(worker, request)
            except _DiedError:
                return self._post_mortem(worker)
            except BaseException:  # Ctrl-C leaves an answer in the pipe that the next request must not read
                self._stop()
                raise
            if reply["outcome"] == "memory":
                self._stop()
            return str(reply["outcome"])

    def stop(self) -> None:
        """End the worker, if there is one."""
        with self._lock:
            self._stop()

    def forget(self) -> None:
        """In a forked child: the worker is the parent's; with our ends of its pipes open it would outlive that."""
        worker, self._worker, self._pending, self._served = self._worker, None, b"", 0
        self._lock = threading.Lock()  # another thread of the parent may have held it
        if worker is not None:
            worker.returncode = 0  # not ours to wait for
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._stop()
        path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]))
        worker = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # Safe path: with `-m` alone, a `json.py` in the working directory would be imported.
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )
        self._worker, self._pending, self._served = worker, b"", 0
        self._read(worker, START_SECONDS)
        return worker

    def _exchange(self, worker: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any]:
        assert worker.stdin is not None
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise _DiedError from None
        return self._read(worker, WALL_SECONDS)

    def _read(self, worker: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        assert worker.stdout is not None
        poll, deadline = select.poll(), time.monotonic() + seconds
        poll.register(worker.stdout, select.POLLIN)
        while b"\n" not in self._pending:
            remaining = deadline - time.monotonic()
            chunk = os.read(worker.stdout.fileno(), 65_536) if remaining > 0 and poll.poll(remaining * 1000) else b""
            if not chunk:
                raise _DiedError
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _post_mortem(self, worker: subprocess.Popen[bytes]) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(0.5)
        code = worker.returncode
        self._stop()
        # SIGPROF: its processor time was spent. None: it is alive and has not answered within the wall time.
        return "timeout" if code is None or code == -signal.SIGPROF else "crash"

    def _stop(self) -> None:
        worker, self._worker, self._pending, self._served = self._worker, None, b"", 0
        if worker is not None:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    pipe.close()


SYMBOLIC = SymbolicProcess()
os.register_at_fork(after_in_child=SYMBOLIC.forget)
atexit.register(SYMBOLIC.stop)
