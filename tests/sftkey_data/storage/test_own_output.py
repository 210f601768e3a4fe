"""Only what carries our marker is replaced or removed, and by one process at a time."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.export.formats import export
from sftkey_data.storage.own_output import OUR_MARKER, held, own_file, own_folder, shared_folder
from sftkey_data.view.examples_page import write_page

FEW = BuildConfig(source="arithmetic", options={"num": "20"})
HELD_OUT = BuildConfig(source="arithmetic", options={"num": "200"}, holdout=0.5)


def files(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "prepared"
    build(FEW, out)
    return out


@pytest.mark.parametrize("theirs", ["my.partial", "my", "my-holdout.partial", "my-holdout"])
@pytest.mark.parametrize("name", ["thesis.tex", "notes.partial", "manifest.json", "plan.sha256"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
def test_a_build_takes_no_folder_of_a_users(tmp_path: Path, theirs: str, name: str, overwrite: bool) -> None:
    (tmp_path / theirs).mkdir()
    (tmp_path / theirs / name).write_text("{}")
    before = files(tmp_path)
    with pytest.raises(SFTKeyError, match=f"{theirs} is not empty and not written by sftkey-data, found {name}"):
        build(HELD_OUT, tmp_path / "my", overwrite=overwrite)
    assert files(tmp_path) == before


@pytest.mark.parametrize("theirs", ["my.partial", "my"])
@pytest.mark.parametrize("name", ["thesis.tex", "notes.partial"])
def test_an_export_takes_no_folder_of_a_users(tmp_path: Path, prepared: Path, theirs: str, name: str) -> None:
    (tmp_path / theirs).mkdir()
    (tmp_path / theirs / name).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(SFTKeyError, match="not written by sftkey-data"):
        export(prepared, tmp_path / "my", to="jsonl", overwrite=True)
    assert files(tmp_path) == before


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))  # its absolute path may be too long for a socket


def _link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to("elsewhere")


NO_FOLDER: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a symbolic link": _link,
    "a file": Path.touch,
}


@pytest.mark.parametrize("kind", NO_FOLDER)
@pytest.mark.parametrize("name", ["my", "my.partial"])
def test_what_is_no_folder_is_never_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Path, kind: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    NO_FOLDER[kind](tmp_path / name)
    before = {path.name: path.lstat() for path in tmp_path.iterdir()}
    with pytest.raises(SFTKeyError, match=f"{name} is {kind}, expected a folder"):
        build(FEW, "my", overwrite=True)
    with pytest.raises(SFTKeyError, match=f"{name} is {kind}, expected a folder"):
        export(prepared, "my", to="jsonl", overwrite=True)
    now = {path.name: path.lstat() for path in tmp_path.iterdir()}
    assert {n: (s.st_ino, s.st_mode) for n, s in now.items()} == {n: (s.st_ino, s.st_mode) for n, s in before.items()}


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a symbolic link", "a folder"])
def test_what_is_no_file_is_never_replaced_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Path, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (NO_FOLDER | {"a folder": Path.mkdir})[kind](tmp_path / "page")
    with pytest.raises(SFTKeyError, match=f"page: expected a file to write a page to, found {kind}"):
        write_page(prepared, Path("page"))
    with pytest.raises(SFTKeyError, match=f"found {kind}"), own_file(Path("page"), "verdicts"):
        pass


def test_a_folder_of_ours_is_replaced_and_what_a_killed_build_left_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "my.partial").mkdir()
    (tmp_path / "my.partial" / ".plan.sha256.12-0123abcd.partial").touch()  # killed in its first moment
    build(FEW, tmp_path / "my")
    build(FEW, tmp_path / "my", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["my"]


def test_a_users_folder_that_ends_as_ours_do_stays_when_a_folder_is_replaced(tmp_path: Path) -> None:
    build(FEW, tmp_path / "my")
    (tmp_path / ".my.old.replaced").mkdir()
    (tmp_path / ".my.old.replaced" / "thesis.tex").touch()
    build(FEW, tmp_path / "my", overwrite=True)
    assert (tmp_path / ".my.old.replaced" / "thesis.tex").exists()


def test_a_folder_written_into_is_marked_and_a_strangers_is_refused(tmp_path: Path) -> None:
    with own_folder(tmp_path / "a" / "report"):
        assert (tmp_path / "a" / "report" / OUR_MARKER).exists()
    assert list(tmp_path.iterdir()) == []  # nothing came into it
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "report.md").touch()
    with pytest.raises(SFTKeyError, match=r"not empty.*found report.md"), own_folder(tmp_path / "theirs"):
        pass
    assert list(files(tmp_path / "theirs")) == ["report.md"]


def test_a_file_above_the_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for hold in (held, own_folder):
        with (
            pytest.raises(SFTKeyError, match=r"file is a file, expected a folder"),
            hold(tmp_path / "file" / "a" / "b"),
        ):
            pass


HOLD = """
import sys, time
from pathlib import Path
from sftkey_data.storage import own_output
with getattr(own_output, sys.argv[1])(Path(sys.argv[2])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("hold", [held, own_folder, shared_folder], ids=lambda hold: hold.__name__)
def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(
    tmp_path: Path, hold: Callable[[Path], object]
) -> None:
    command = [sys.executable, "-c", HOLD, hold.__name__, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        with pytest.raises(SFTKeyError, match="out: another process is writing it"), hold(tmp_path / "out"):  # type: ignore[attr-defined]
            pass
        process.send_signal(signal.SIGKILL)
    with hold(tmp_path / "out"):  # type: ignore[attr-defined]
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


LEFT = ".{}.4242-0a1b2c3d.partial"


def test_who_holds_an_output_removes_what_a_killed_process_left_of_it_and_nothing_else(tmp_path: Path) -> None:
    others = ["thesis.tex.partial", ".out.notes.partial", LEFT.format("other"), f"mine/{LEFT.format('a.svg')}"]
    gone = {
        held: [LEFT.format("out"), LEFT.format("out.log")],
        own_folder: [f"out/{LEFT.format('a')}", f"out/below/deep/{LEFT.format('a.svg')}"],
        shared_folder: [f"out/{LEFT.format('report.md')}", f"out/plots/{LEFT.format('a.svg')}"],
    }
    kept = [*others, f"out/mine/{LEFT.format('a.svg')}", f"out/{LEFT.format('thesis')}"]
    for hold, names in gone.items():
        top = tmp_path / hold.__name__
        for name in (*names, *(others if hold is own_folder else kept)):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text("half")
        if hold is own_folder:
            (top / "out" / OUR_MARKER).touch()
        (top / "out" / "plots").mkdir(parents=True, exist_ok=True)
        (top / LEFT.format("out.log")).unlink(missing_ok=True)
        if hold is held:
            (top / LEFT.format("out.log")).mkdir()  # a folder, too
        arguments = {held: (["out.log"],), shared_folder: (["report.md"], ["plots"])}.get(hold, ())
        with hold(top / "out", *arguments):  # type: ignore[operator]
            found = set(files(top))
        assert found.isdisjoint(names)
        assert found.issuperset(others if hold is own_folder else kept)


def test_a_folder_that_is_written_into_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below" / "out"):
        with pytest.raises(SFTKeyError, match=r"file is a file, expected a folder"), shared_folder(out):
            pass
    with shared_folder(tmp_path / "a" / "out"):
        pass
    assert files(tmp_path) == {"file": b"mine"}  # nothing has come, nothing stays
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("mine")
    with shared_folder(tmp_path / "theirs"):
        (tmp_path / "theirs" / "report.md").write_text("ours")
    assert sorted(files(tmp_path / "theirs")) == ["report.md", "thesis.tex"]


def test_two_builds_of_one_output_do_not_meet(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, "held", str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(SFTKeyError, match="another process is writing it"):
            build(FEW, tmp_path / "out")
        process.kill()
    build(FEW, tmp_path / "out")
