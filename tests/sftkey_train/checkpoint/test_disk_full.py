"""A file that cannot be written whole: one line, and what was there before is still there."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sftkey_train import recipe_run as run_module
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Write = Callable[[dict[str, Any]], Path]
LIMIT_BYTES = 40_000  # more than metrics and plot need, less than the weights


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


def test_files_and_rows_that_cannot_be_written_are_one_line_and_the_old_ones_stay(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import write_text
from sftkey_train.measure.metrics_log import MetricsLog

path = Path(sys.argv[1])
write_text(path, "old\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
for write in (lambda: write_text(path, "new" * 9), lambda: MetricsLog(path).append({"kind": "train"})):
    try:
        write()
    except SFTKeyError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'f'} cannot be written: File too large\n" * 2
    assert (tmp_path / "f").read_text().startswith("old\n")


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = write_recipe(tables), Path(tables["out"])
    save = run_module.train_stage.__globals__["save_checkpoint"]

    def save_then_stop(*arguments: Any) -> None:
        save(*arguments)
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr("sftkey_train.loop.save_checkpoint", save_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(load_recipe(recipe)))
    before = load_file(out / "full" / "checkpoint-2" / "model.safetensors")
    command = [sys.executable, "-m", "sftkey_train.cli", "run", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_limit)
    checkpoint = out / "full" / "checkpoint-4"
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {checkpoint} cannot be written: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (out / "full").iterdir()] == ["checkpoint-2"]
    after = load_file(out / "full" / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert [summary["steps"] for summary in run_recipe(load_recipe(recipe))] == [6, 4]
