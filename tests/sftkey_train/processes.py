"""Real processes that train together, as torchrun starts them, from a server that has the imports done."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 180


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sftkey_train.recipe_run"])
    return context


def _work(rank: int, num: int, port: int, target: Callable[..., None], arguments: Sequence[Any]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    target(*arguments)


def start(num: int, target: Callable[..., None], *arguments: Any) -> list[Any]:
    """Start `num` ranks that call `target`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    workers = [_context().Process(target=_work, args=(r, num, port, target, arguments)) for r in range(num)]
    for worker in workers:
        worker.start()
    return workers


def run_together(num: int, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Exit codes of `num` ranks that have called `target`."""
    workers = start(num, target, *arguments)
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
        worker.kill()
    return [worker.exitcode for worker in workers]


def train(recipe: Path, overrides: Sequence[str]) -> None:
    """What each rank does in a training run."""
    from sftkey_train.recipe_file import load_recipe
    from sftkey_train.recipe_run import run_recipe

    list(run_recipe(load_recipe(recipe, overrides)))


def kill_at(workers: Sequence[Any], metrics: Path, row: str) -> None:
    """SIGKILL all ranks as soon as a row is in metrics.jsonl."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(w.is_alive() for w in workers) and time.monotonic() < deadline:
        if metrics.exists() and row in metrics.read_text():
            break
        time.sleep(0.001)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def metric_rows(out: Path) -> list[dict[str, Any]]:
    """What a run has logged, but for what a clock has measured."""
    from sftkey_train.measure.metrics_log import MetricsLog

    timed = ("seconds", "tokens_per_second", "flops_per_second")
    rows = [dict(row) for row in MetricsLog(out / "metrics.jsonl").rows()]
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def final_weights(out: Path) -> dict[str, Any]:
    """All tensors that the stages of a run have left, adapters too, by file and name."""
    from safetensors.torch import load_file

    files = sorted(out.glob("*/final/**/*.safetensors"))
    return {f"{path.relative_to(out)}/{name}": w for path in files for name, w in load_file(path).items()}


_HOLD = """
import sys
from pathlib import Path
from sftkey_data.storage.own_output import own_folder
with own_folder(Path(sys.argv[1]), lambda _: True):
    print("holds", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(out: Path) -> Iterator[None]:
    """It holds a folder, and is killed at the end."""
    command = [sys.executable, "-c", _HOLD, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield
        process.kill()
