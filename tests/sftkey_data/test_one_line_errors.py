"""What ends a program before or beside its verbs is one line too."""

import errno
import signal
import subprocess
import sys

import pytest
import typer

from sftkey_data.console import run_program

INTERRUPTED_AT = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored
class Finder:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_module(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("program", ["sftkey_data.cli", "sftkey_eval.cli", "sftkey_train.cli"])
def test_ctrl_c_while_a_program_is_imported_is_one_line(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AT, program], capture_output=True, text=True)
    assert done.stderr == "interrupted: the same command goes on from what is saved\n"
    assert done.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), "out/a: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b: Not a directory"),
        (OSError("said by a library"), "said by a library"),
    ],
    ids=["full disk", "full disk without a name", "file as a folder", "no number"],
)
def test_what_a_disk_says_to_nobody_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def write() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as ended:
        run_program(app)
    assert (ended.value.code, capsys.readouterr().err) == (1, f"error: {line}\n")


class FullFile:
    """A stdout on a full disk, which says so when it is flushed."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        if self.written:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_under_stdout_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def write() -> None:
        sys.stdout.write("numbers\n")

    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(sys, "stdout", FullFile())
    with pytest.raises(SystemExit) as ended:
        run_program(app)
    assert (ended.value.code, capsys.readouterr().err) == (1, "error: No space left on device\n")
