"""Files and folders on a local disk that are complete, or not there: the one way in which a result gets its name.

What is written lies beside its place under a name of its own, so that several processes on one target do not meet. It
is flushed to the disk, then renamed, then the folder that holds the name is flushed as well. Without the first flush a
power cut may leave a name with no content, without the second no name. A failure leaves nothing behind and is one line.
"""

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, overload

from sftkey_data.errors import Interrupted
from sftkey_data.storage.filesystems import DISK_FULL, naming

PARTIAL, REPLACED = ".partial", ".replaced"
OWN_NAME = re.compile(
    r"\.(?P<target>.+)\.\d+-[0-9a-f]+\.(?:partial|replaced)"
)  # as `_beside` makes them; other names are not ours
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)  # what network filesystems say that keep names safe by themselves


@contextmanager
def appearing_path(target: Path) -> Iterator[Path]:
    """A path to write one file to, which becomes `target` when all went well.

    Raises:
        Interrupted: The disk is full, or there is no such folder; other errors of the block itself are handed on.
    """
    partial = _beside(target, PARTIAL)
    try:
        with naming(target, "written", Interrupted, only=DISK_FULL):
            yield partial
        with naming(target, "written", Interrupted):
            _sync(partial)
            partial.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


@overload
def appearing(target: Path, mode: Literal["w"]) -> AbstractContextManager[IO[str]]: ...
@overload
def appearing(target: Path, mode: Literal["wb"] = "wb") -> AbstractContextManager[IO[bytes]]: ...
@contextmanager
def appearing(target: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """A file to write, text as UTF-8, which becomes `target` when all went well; raises as `appearing_path`."""
    with appearing_path(target) as partial:
        with naming(target, "written", Interrupted):
            file = partial.open(mode, encoding="utf-8" if mode == "w" else None)
        with file:
            yield file


@contextmanager
def appearing_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when all went well, in the place of what was there.

    Raises:
        Interrupted: It cannot be written.
    """
    partial = _beside(target, PARTIAL)
    try:
        with naming(target, "written", Interrupted):
            make_folder(target.parent)
            partial.mkdir()
            yield partial
            for path in partial.rglob("*"):
                sync_folder(path) if path.is_dir() else _sync(path)
            replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; a reader sees the old one or the new one, whole.

    Raises:
        Interrupted: It cannot be written; the old one is still there.
    """
    with appearing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, as `write_bytes` does; half a surrogate pair becomes a question mark."""
    write_bytes(path, text.encode("utf-8", "replace"))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that their names are on the disk too.

    Raises:
        OSError: As `Path.mkdir`.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def replace_folder(folder: Path, target: Path) -> None:
    """Give a folder whose files are on the disk its place; what was there goes aside first and is removed after.

    Raises:
        OSError: It cannot be moved.
    """
    sync_folder(folder)
    while True:
        with suppress(FileNotFoundError):
            target.rename(_beside(target, REPLACED))  # a folder cannot be renamed onto one that holds files
        try:
            folder.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster: its own goes aside
                raise
    sync_folder(target.parent)
    for replaced in target.parent.glob(f".{glob.escape(target.name)}.*{REPLACED}"):  # also of a process killed here
        if is_own_partial(replaced.name):
            shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder: its name is gone at once, and what a process killed here leaves is named as ours.

    Raises:
        OSError: It cannot be moved.
    """
    aside = _beside(folder, REPLACED)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def is_own_partial(name: str) -> bool:
    """Whether a file or folder of this name is one of ours that was not finished, as a killed process leaves it."""
    return OWN_NAME.fullmatch(name) is not None


def remove_unfinished(folder: Path, targets: Collection[str] | None = None) -> None:
    """Remove what killed processes have left unfinished in a folder; only for who holds what it was to become.

    Args:
        folder: Looked through without the folders below.
        targets: Names that it was to become; None: any.
    """
    for path in list(folder.iterdir()):
        found = OWN_NAME.fullmatch(path.name)
        if found is None or (targets is not None and found["target"] not in targets):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk when this returns."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
