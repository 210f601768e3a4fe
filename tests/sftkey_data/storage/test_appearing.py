"""A result is complete or not there: what the disk is asked to keep, in which order, and what a failure leaves."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import Interrupted
from sftkey_data.storage import appearing as module
from sftkey_data.storage.appearing import (
    appearing,
    appearing_folder,
    make_folder,
    replace_folder,
    write_bytes,
    write_text,
)
from sftkey_data.storage.output_folder import Folder

SIZE = 300_000


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was asked of the system, in order: `sync` with the path of the descriptor, `name` with the new name."""
    seen: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def recorded_sync(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def recorded(call: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def to_name(source: Any, target: Any) -> None:
            call(source, target)
            seen.append(("name", str(target)))

        return to_name

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "rename", recorded(rename))
    monkeypatch.setattr(os, "replace", recorded(replace))
    return seen


def shown(calls: list[tuple[str, str]], root: Path) -> list[str]:
    """The calls as text, with `half` for a name of the helper's own."""
    short = [(deed, str(Path(path).relative_to(root))) for deed, path in calls]
    return [f"{deed} {'half' if '.partial' in name else name}" for deed, name in short]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    for write in (lambda p: write_bytes(p, b"1"), lambda p: write_text(p, "1")):
        calls.clear()
        write(tmp_path / "file")
        assert shown(calls, tmp_path) == ["sync half", "name file", "sync ."]
    assert (tmp_path / "file").read_text() == "1"


def test_a_folder_has_its_name_after_all_that_is_in_it(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with appearing_folder(tmp_path / "folder") as partial:
        (partial / "sub").mkdir()
        (partial / "a").write_bytes(b"1")
        (partial / "sub" / "b").write_bytes(b"2")
    synced = {path.removeprefix(str(partial)) for deed, path in calls[:4] if deed == "sync"}
    assert synced == {"/a", "/sub", "/sub/b", ""}
    assert [call[0] for call in calls[4:]] == ["name", "sync"]
    assert shown(calls[4:], tmp_path) == ["name folder", "sync ."]


def test_a_published_folder_is_on_the_disk_with_every_name_in_it(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    half = Folder(str(tmp_path / "out.building"))
    half.write_bytes("sub/a", b"1")
    with half.appearing_path("b") as path:
        path.write_bytes(b"2")
    half.publish(Folder(str(tmp_path / "out")), last="b")
    assert shown(calls, tmp_path) == [
        "sync .",  # the name out.building
        "sync out.building",  # the name sub
        "sync half",
        "name out.building/sub/a",
        "sync out.building/sub",
        "sync half",
        "name out.building/b",
        "sync out.building",
        "sync out.building",
        "name out",
        "sync .",
    ]


def test_a_new_folders_name_is_on_the_disk(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert shown(calls, tmp_path) == ["sync .", "sync a"]
    make_folder(tmp_path / "a" / "b")
    assert len(calls) == 2


class _Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [_Stop, ValueError, OSError], ids=lambda error: error.__name__)
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    write_text(tmp_path / "file", "old")
    with appearing_folder(tmp_path / "folder") as partial:
        (partial / "old").write_text("old")

    def write_half() -> None:
        with appearing(tmp_path / "file", "w") as file:
            file.write("new")
            raise error

    def fill_half() -> None:
        with appearing_folder(tmp_path / "folder") as partial:
            (partial / "new").write_text("new")
            raise error

    with pytest.raises(error):
        write_half()
    with pytest.raises(Interrupted if error is OSError else error):
        fill_half()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "old"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_is_one_line_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "made up")

    write_text(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(Interrupted, match=rf"^{tmp_path}/file cannot be written: Input/output error$"):
            write_text(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_that_cannot_be_synced_on_a_network_disk_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def only_files(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(errno.EINVAL, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from sftkey_data.errors import Interrupted\nfrom sftkey_data.storage.appearing import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "def folder(path):\n    with appearing_folder(path) as half: (half / 'a').write_bytes(bytes(5000))\n"
        "def lines(path):\n    with appearing(path, 'w') as file: file.writelines(['x' * 99] * 99)\n"
        "for write in (lambda path: write_bytes(path, bytes(5000)), folder, lines):\n"
        "    try: write(Path(sys.argv[1]))\n"
        "    except Interrupted as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path}/out cannot be written: File too large\n" * 3
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_error_of_the_block_that_is_no_disks_is_not_called_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="input"), appearing(tmp_path / "out"):
        (tmp_path / "input").read_bytes()
    assert list(tmp_path.iterdir()) == []


WRITE_FOREVER = """
import sys
from pathlib import Path
from sftkey_data.storage.appearing import appearing, appearing_folder

out, letter = Path(sys.argv[1]), sys.argv[2].encode()
for number in range(60):
    with appearing(out / "file") as file:
        for _ in range(3):
            file.write(letter * 100_000)
            file.flush()
    with appearing_folder(out / "folder") as partial:
        for name in "ab":
            (partial / name).write_bytes(letter * 10)
"""


def test_two_writers_of_one_target_do_not_meet_and_a_reader_sees_no_half_file(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(tmp_path), letter]) for letter in "xy"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file").exists():
            content = (tmp_path / "file").read_bytes()
            assert len(content) == SIZE
            seen |= set(content)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= set(b"xy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert len({(tmp_path / "folder" / name).read_bytes() for name in "ab"}) == 1


def test_a_folder_that_another_process_puts_there_meanwhile_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "out", "faster"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename, left = os.rename, [tmp_path / "faster"]

    def rename_late(source: Any, target: Any) -> None:
        if Path(source).name == "mine" and left:
            rename(left.pop(), target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_late)
    replace_folder(tmp_path / "mine", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "out"]
    assert module.REPLACED not in str(list(tmp_path.iterdir()))
