"""The three programs, started as real processes in milliseconds, and ended by SIGKILL at a chosen moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180
ENDS_SECONDS = 10  # how long a killed command's own processes may take to notice
ENVIRONMENT = {
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "PYTHONDONTWRITEBYTECODE": "1",
    "COLUMNS": "200",
}
TERMINAL = ("typer.main", "rich.progress", "rich.console")
PLOTS = ("pandas", "matplotlib.pyplot", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg")
MODELS = ("torch._dynamo", "sympy", "transformers.models.llama.modeling_llama", "lm_eval.models.huggingface")
EVAL = (
    *("sftkey_eval.run", "sftkey_eval.report.compare", "sftkey_eval.generation.hf"),
    *("sftkey_eval.scoring.answer_pairs", "sftkey_eval.logs.import_logs"),
)
PRELOADED = {
    "data": ("-torch", *TERMINAL, *PLOTS, "transformers.models.auto", "datasets", "sftkey_data.building.build"),
    "eval": (*TERMINAL, *PLOTS, *MODELS, *EVAL),
    "train": (*TERMINAL, *PLOTS, *MODELS, *EVAL, "peft", "sftkey_train.study.study_runner"),
}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, None if it did not; what it wrote on both streams."""

    code: int | None
    said: str
    peak_bytes: int = 0  # of memory, at once

    @property
    def last_line(self) -> str:
        lines = self.said.strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def is_one_line(self) -> bool:
        """Refused as promised: exit 1, an error line, no traceback."""
        return self.code == 1 and self.last_line.startswith("error: ") and "Traceback" not in self.said


@dataclass(frozen=True)
class Order:
    """A command: where it runs, and what is wrong with the machine meanwhile."""

    program: str
    argv: Sequence[str]
    folder: Path
    ranks: int = 1
    largest_file: int | None = None  # bytes
    clock_shift: int = 0  # seconds
    stdin: str = os.devnull


class Programs:
    """Servers by program, each started when it is first needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.communicate()

    def start(self, order: Order) -> "Running":
        """The command at work."""
        port = 20_000 + int.from_bytes(os.urandom(2)) // 2
        ranks = [
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(order.ranks)}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            for rank in range(order.ranks)
        ]
        pids = [
            int(self._ask(order.program, _start(order, extra if order.ranks > 1 else {}))["pid"]) for extra in ranks
        ]
        return Running(self, order, pids)

    def run(self, order: Order) -> Ended:
        """How the command ends when nobody disturbs it."""
        return self.start(order).wait()

    def wait(self, program: str, pid: int, seconds: float) -> Ended:
        return Ended(**self._ask(program, {"wait": pid, "seconds": seconds}))

    def _ask(self, program: str, order: Mapping[str, Any]) -> dict[str, Any]:
        server = self._servers.get(program) or self._serve(program)
        assert server.stdin is not None
        server.stdin.write(json.dumps(order).encode() + b"\n")
        server.stdin.flush()
        return _answer(server)

    def _serve(self, program: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(Path(__file__).with_name("forking_server.py")), *PRELOADED[program]]
        environment = os.environ | ENVIRONMENT | self._environment
        server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._servers[program] = server
        _answer(server)
        return server


@dataclass(frozen=True)
class Running:
    """A command at work, in one process or in several ranks."""

    programs: Programs
    order: Order
    pids: Sequence[int]

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """How it ends; of several ranks, how the first that failed did. What takes too long is killed."""
        deadline = time.monotonic() + seconds
        ends = [self._end(pid, deadline - time.monotonic()) for pid in self.pids]
        return next((end for end in ends if end.code != 0), ends[0])

    def is_running(self) -> bool:
        return all(_state(pid) not in ("Z", None) for pid in self.pids)

    def kill(self) -> bool:
        """SIGKILL to each of its ranks, not to processes of their own; whether it was still at work."""
        working = self.is_running()
        for pid in self.pids:
            with suppress(ProcessLookupError):  # a zombie is there until it is waited for
                os.kill(pid, signal.SIGKILL)
        ends = [self.programs.wait(self.order.program, pid, ENDS_SECONDS) for pid in self.pids]
        return working and any(end.code == -signal.SIGKILL for end in ends)

    def left_behind(self) -> list[str]:
        """Command lines of its own processes that live on after it, when they had time to notice; they are killed."""
        deadline = time.monotonic() + ENDS_SECONDS
        while (living := _of_sessions(self.pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        names = []
        for pid in living:
            with suppress(OSError):
                names.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:120])
                os.kill(pid, signal.SIGKILL)
        return names

    def _end(self, pid: int, seconds: float) -> Ended:
        end = self.programs.wait(self.order.program, pid, max(seconds, 0))
        if end.code is None:
            os.kill(pid, signal.SIGKILL)
            said = self.programs.wait(self.order.program, pid, ENDS_SECONDS).said
            return Ended(None, f"{said}\nno end after {PATIENCE_SECONDS} s")
        return end


def _start(order: Order, environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "module": f"sftkey_{order.program}.cli",
        "argv": [f"sftkey-{order.program}", *order.argv],
        "folder": str(order.folder),
        "environment": dict(environment),
        "largest_file": order.largest_file,
        "clock_shift": order.clock_shift,
        "stdin": order.stdin,
    }


def _answer(server: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert server.stdout is not None
    return dict(json.loads(server.stdout.readline()))


def _state(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[0] if fields else None


def _stat(pid: int) -> list[str]:
    """State, parent, group, session and further fields of /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _of_sessions(leaders: Sequence[int]) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    living = {pid: fields for pid in pids if (fields := _stat(pid)) and fields[0] != "Z"}
    return [pid for pid, fields in living.items() if int(fields[3]) in leaders]
