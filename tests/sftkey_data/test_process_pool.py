"""A pool of processes: order, bounds, what a user is told, and which processes it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.process_pool import AHEAD, Start, run_processes

PATIENCE_SECONDS = 60
both_starts = pytest.mark.parametrize("start", ["fork", "spawn"])


def late_if_even(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 2 == 0))
    return number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise SFTKeyError("three")
    return os.getpid()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def pid_then_sleep(number: int) -> int:
    if number >= 2:
        time.sleep(PATIENCE_SECONDS)
    return os.getpid()


def fail_beside_a_lost_signal(piece: tuple[int, str]) -> None:
    """The first fails while the second loses the signal, as a task does that is at its end when it comes."""
    number, ready = piece
    if number == 0:
        while not Path(ready).exists():
            time.sleep(0.01)
        raise SFTKeyError("zero")
    lost: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: lost.append(1))
    Path(ready).touch()
    while not lost:
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(10 * PATIENCE_SECONDS)  # the next task


class SlowToLoad:
    """A task whose modules take long to import."""

    def __call__(self, number: int) -> int:
        return number

    def __reduce__(self) -> tuple[object, ...]:
        return _loaded_slowly, ()


def _loaded_slowly() -> SlowToLoad:
    print(os.getpid(), flush=True)  # noqa: T201
    time.sleep(10 * PATIENCE_SECONDS)
    return SlowToLoad()


@pytest.fixture
def bystanders() -> Iterator[list[SpawnProcess]]:
    """Processes of the caller's own; started by `begin_bystander`, all ended afterwards."""
    started: list[SpawnProcess] = []
    yield started
    for process in started:
        process.kill()
        process.join()


def begin_bystander(started: list[SpawnProcess]) -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(PATIENCE_SECONDS,))
    process.start()
    started.append(process)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; given some time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@both_starts
def test_results_come_in_order_from_other_processes(start: Start) -> None:
    found = list(run_processes(late_if_even, range(20), 2, start=start, hint=""))
    assert [number for number, _ in found] == list(range(20))
    assert os.getpid() not in {pid for _, pid in found}


@both_starts
def test_pieces_are_read_no_further_ahead_than_the_workers_need(start: Start) -> None:
    read: list[int] = []

    def pieces() -> Iterator[int]:
        for number in range(40):
            read.append(number)
            yield number

    results = run_processes(late_if_even, pieces(), 2, start=start, hint="")
    for done, _ in enumerate(results, start=1):
        assert len(read) <= AHEAD * 2 + done
    assert len(read) == 40


@both_starts
def test_an_error_ends_the_pools_own_processes_and_no_other(start: Start, bystanders: list[SpawnProcess]) -> None:
    begin_bystander(bystanders)

    def pieces() -> Iterator[int]:
        for number in range(100):
            if number == 2:
                begin_bystander(bystanders)  # while the pool is at work
            yield number

    results = run_processes(fail_at_three, pieces(), 2, start=start, hint="")
    workers = {next(results) for _ in range(3)}
    with pytest.raises(SFTKeyError, match="three"):
        next(results)
    assert all(map(is_gone, workers))
    assert [process.is_alive() for process in bystanders] == [True, True]


@both_starts
def test_closing_ends_the_workers_in_the_middle_of_their_work(start: Start, bystanders: list[SpawnProcess]) -> None:
    begin_bystander(bystanders)
    results = run_processes(pid_then_sleep, range(100), 2, start=start, hint="")
    workers = {next(results), next(results)}
    results.close()
    assert all(map(is_gone, workers))
    assert bystanders[0].is_alive()


@both_starts
def test_a_worker_that_dies_is_one_line_with_a_hint(start: Start, bystanders: list[SpawnProcess]) -> None:
    begin_bystander(bystanders)
    with pytest.raises(Interrupted, match=r"^a worker process died \(killed, or out of memory\): eat less$"):
        list(run_processes(die_at_three, range(100), 2, start=start, hint="eat less"))
    assert bystanders[0].is_alive()


@both_starts
def test_a_worker_that_has_lost_its_signal_gets_another(start: Start, tmp_path: Path) -> None:
    said: list[str] = []

    def run() -> None:
        pieces = [(number, str(tmp_path / "ready")) for number in range(2)]
        try:
            list(run_processes(fail_beside_a_lost_signal, pieces, 2, start=start, hint="", saves=True))
        except SFTKeyError as error:
            said.append(str(error))

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(PATIENCE_SECONDS)
    assert said == ["zero"]


@both_starts
def test_workers_end_when_their_parent_was_killed(start: Start) -> None:
    code = (
        "import sys\nfrom test_process_pool import pid_then_sleep\nfrom sftkey_data.process_pool import run_processes\n"
        "if __name__ == '__main__':\n"
        f"    for pid in run_processes(pid_then_sleep, range(9), 2, start={start!r}, hint=''): print(pid, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(2)}
    parent.kill()
    parent.wait()
    assert all(map(is_gone, workers))


def test_a_worker_that_is_still_importing_ends_when_its_parent_was_killed() -> None:
    code = (
        "from test_process_pool import SlowToLoad\nfrom sftkey_data.process_pool import run_processes\n"
        "list(run_processes(SlowToLoad(), range(2), 1, start='spawn', hint=''))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert is_gone(worker)
