"""`generate` and `run` replace what they have written, and nothing else; one process at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.generate import generate
from sftkey_eval.run import run
from sftkey_eval.run_options import RunOptions

HOLD = """
import sys
from pathlib import Path
from sftkey_data.storage.own_output import held, own_folder
with {"held": held, "own_folder": own_folder}[sys.argv[1]](Path(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(hold: str, out: Path) -> Iterator[None]:
    """Another process writes `out` meanwhile, and is killed at the end."""
    command = [sys.executable, "-c", HOLD, hold, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield
        process.kill()


def options(model: Path, data: Path, *, overwrite: bool = False) -> RunOptions:
    values = {"limit": 2, "max_new_tokens": 4, "device": "cpu", "overwrite": overwrite}
    return RunOptions(model=str(model), data=data, **values)


def test_a_second_generate_is_refused_until_the_first_is_gone(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "completions.jsonl"
    with (
        another_process("held", out),
        pytest.raises(SFTKeyError, match=r"completions\.jsonl: another process is writing it"),
    ):
        generate(options(tiny_model, prepared), out)
    assert generate(options(tiny_model, prepared), out).num_new == 2
    assert sorted(path.name for path in out.parent.iterdir()) == ["completions.jsonl", "run.json"]


def test_a_second_run_is_refused_and_so_is_a_strangers_folder(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    with (
        another_process("own_folder", tmp_path / "out"),
        pytest.raises(SFTKeyError, match="out: another process is writing it"),
    ):
        run(options(tiny_model, prepared), tmp_path / "out")
    (theirs := tmp_path / "theirs").mkdir()
    (theirs / "verdicts.parquet").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SFTKeyError, match=r"theirs is not empty and not written by .* found verdicts"):
            run(options(tiny_model, prepared, overwrite=overwrite), theirs)
    assert {path.name: path.read_text() for path in theirs.iterdir()} == {"verdicts.parquet": "mine"}


@pytest.mark.parametrize("name", ["completions.jsonl", "completions.jsonl.partial"])
def test_overwrite_takes_no_completions_without_a_record_of_ours(
    tiny_model: Path, prepared: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine\n")
    for overwrite in (False, True):
        with pytest.raises(SFTKeyError, match=r"is there without its run\.json"):
            generate(options(tiny_model, prepared, overwrite=overwrite), tmp_path / "completions.jsonl")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine\n"}


@pytest.mark.parametrize("name", ["completions.jsonl", "completions.jsonl.partial", "run.json"])
def test_what_is_no_file_is_neither_opened_nor_replaced(
    tiny_model: Path, prepared: Path, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    for overwrite in (False, True):
        with pytest.raises(SFTKeyError, match=r"expected a file to write .*, found a FIFO"):
            generate(options(tiny_model, prepared, overwrite=overwrite), tmp_path / "completions.jsonl")
    assert (tmp_path / name).is_fifo()


def test_a_file_above_the_output_is_one_line(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SFTKeyError, match=r"file is a file, expected a folder"):
        generate(options(tiny_model, prepared), tmp_path / "file" / "a" / "completions.jsonl")
    with pytest.raises(SFTKeyError, match=r"file is a file, expected a folder"):
        run(options(tiny_model, prepared), tmp_path / "file" / "a")
