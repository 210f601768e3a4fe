"""A build that goes on from pieces on a disk that has changed them: they are done again, to the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from flipped_bits import flipped

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.prepared.manifest import file_sha256

# Killed by its own hand where all pieces are done and the rejects are joined; or where a folder would get its name.
KILLED = """
import os, signal, sys
from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.storage.output_folder import Folder
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(Folder, sys.argv[3], killed)
build(BuildConfig(source="columns", inputs=(sys.argv[1],), holdout=0.25, shard_rows=20), sys.argv[2])
"""
NUM = 2  # bits of each file
NOT_READ = (".sftkey", "README.md")  # the name alone says it; the card is the user's to edit


def rows(path: Path) -> Path:
    lines = [f'{{"prompt": "What is {n} + 1?", "cot": "{n} + 1 = {n + 1}", "key": "{n + 1}"}}' for n in range(39)]
    path.write_text("\n".join(lines) + '\n{"prompt": "no answer", "cot": "none", "key": ""}\n')
    return path


def built(source: Path, out: Path) -> dict[str, str]:
    build(BuildConfig(source="columns", inputs=(str(source),), holdout=0.25, shard_rows=20), out)
    paths = [path for folder in (out, out.with_name("out-holdout")) for path in sorted(folder.rglob("*"))]
    return {str(path.relative_to(out.parent)): file_sha256(path) for path in paths if path.is_file()}


@pytest.mark.parametrize(
    "step", [pytest.param("put_file", marks=pytest.mark.slow), "publish"], ids=["pieces", "whole folders"]
)
def test_a_flipped_bit_in_what_a_build_goes_on_from_changes_nothing(step: str, tmp_path: Path) -> None:
    source = rows(tmp_path / "rows.jsonl")
    left = tmp_path / "left"
    left.mkdir()
    command = [sys.executable, "-c", KILLED, str(source), str(left / "out"), step]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == -signal.SIGKILL
    wanted = built(source, tmp_path / "whole" / "out")
    paths = [path for path in sorted(left.rglob("*")) if path.is_file() and path.name not in NOT_READ]
    files = [path.relative_to(left) for path in paths if path.stat().st_size]
    assert len(files) > 6
    for file in files:
        for number, (_, content) in enumerate(flipped((left / file).read_bytes(), NUM)):
            folder = shutil.copytree(left, tmp_path / f"{number} {file.as_posix().replace('/', ' ')}")
            (folder / file).write_bytes(content)
            assert built(source, folder / "out") == wanted, f"{file}, flip {number}"
            shutil.rmtree(folder)
