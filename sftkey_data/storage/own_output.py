"""What is ours on a local disk, and who writes it now: only what carries our marker is replaced, by one process.

Locks are POSIX record locks: they die with the process, and worker processes that it has forked do not keep them. Who
gets one removes what a killed process has left unfinished of the same output.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.appearing import is_own_partial, make_folder, remove_unfinished
from sftkey_data.storage.filesystems import naming

OUR_MARKER = ".sftkey"
MARKER_SAYS = b"sftkey writes this folder, and may replace or remove all that is in it.\n"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # a filesystem without them: nobody can be kept out
FILE_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def own_file(out: Path, what: str, *, makes_folder: bool = True, beside: Collection[str] = ()) -> Iterator[None]:
    """Hold the place of a file that a verb writes, as long as the block lasts.

    Args:
        out: The file; one that is there may be replaced.
        what: It is to hold, for the error.
        makes_folder: The folder above it may be made.
        beside: Names of files that the verb writes in the same folder, too.

    Raises:
        SFTKeyError: Something else than a file is there or above, or another process writes it.
    """
    refuse_no_file(out, what)
    if not makes_folder:
        with naming(out, "written", Interrupted):
            out.parent.stat()
    with held(out, beside):
        yield


def refuse_no_file(out: Path, what: str) -> None:
    """Refuse, before anything is computed, what only a file may stand for.

    Raises:
        SFTKeyError: A folder, link, device or the like is there.
    """
    if (kind := kind_of(out)) not in (None, "a file"):
        raise SFTKeyError(f"{out}: expected a file to write {what} to, found {kind}")


@contextmanager
def own_folder(out: Path, is_ours: Callable[[Path], bool] = lambda _: False) -> Iterator[None]:
    """Hold a folder that a verb writes into, marked as ours from its first moment; nothing stays if nothing came.

    Args:
        out: The folder; a link to one will do, as only files in it are replaced.
        is_ours: Whether a folder without the marker is ours all the same.

    Raises:
        SFTKeyError: It is no folder, or one that is not empty and not ours, or another process writes it.
    """
    if (kind := kind_of(out.resolve())) not in (None, "a folder"):
        raise SFTKeyError(f"out {out} is {kind}, expected a folder")
    if (found := foreign(out)) is not None and not is_ours(out):
        raise SFTKeyError(f"out {out} is not empty and not written by sftkey, found {found}: name another")
    with _made(out, f"out {out}"), _locked(out / OUR_MARKER, out) as marker:
        if os.fstat(marker.fileno()).st_size == 0:
            with suppress(OSError):  # the name alone says it
                os.write(marker.fileno(), MARKER_SAYS)
        for folder, _, _ in os.walk(out):
            remove_unfinished(Path(folder))
        try:
            yield
        finally:
            if [path.name for path in out.iterdir()] == [OUR_MARKER]:
                (out / OUR_MARKER).unlink()


@contextmanager
def shared_folder(out: Path, files: Collection[str] = (), folders: Collection[str] = ()) -> Iterator[None]:
    """Hold a folder that a verb writes files into beside what else is in it; it is there while the block lasts.

    Args:
        out: The folder.
        files: Names of those that the verb writes.
        folders: Names of folders below that it writes, and nobody else.

    Raises:
        SFTKeyError: Something else than a folder is there or above, or another process writes it.
    """
    if (kind := kind_of(out.resolve())) not in (None, "a folder"):
        raise SFTKeyError(f"out {out} is {kind}, expected a folder")
    lock = out / ".sftkey-lock"  # in it: what is above may not be ours to write
    with _made(out, f"out {out}"), _locked(lock, out):
        remove_unfinished(out, files)
        for folder in filter(Path.is_dir, map(out.joinpath, folders)):
            remove_unfinished(folder)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def held(target: Path, beside: Collection[str] = ()) -> Iterator[None]:
    """Keep other processes off a file or folder that is going to be replaced; the lock lies beside it meanwhile.

    Args:
        target: The file or folder.
        beside: Names of files in the same folder that go with it.

    Raises:
        SFTKeyError: Another process writes it, or what is above it is no folder.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - `.` and `..` have no name; links are kept
    with _made(target.parent, str(target)):
        lock = target.with_name(f".{target.name}.sftkey-lock")
        with _locked(lock, target):
            remove_unfinished(target.parent, {target.name, *beside})
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)  # before it is let go, so nobody holds a name that is gone


def kind_of(path: Path) -> str | None:
    """`a file`, `a folder`, `a FIFO`, …: what lies there, links not followed; None where nothing does."""
    try:
        return FILE_KINDS.get(stat.S_IFMT(path.lstat().st_mode), "no file or folder")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SFTKeyError(f"{path} cannot be looked up: {error.strerror}") from None


def foreign(folder: Path) -> str | None:
    """A name in a folder that is not ours; None of one that is ours, holds nothing, or is not there."""
    with naming(folder, "read", SFTKeyError):
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if OUR_MARKER in names:
        return None
    return next((name for name in names if not is_own_partial(name)), None)


@contextmanager
def _made(folder: Path, what: str) -> Iterator[None]:
    """A folder that is there meanwhile; those made for it go again where nothing has come into them."""
    above = [folder, *folder.parents]
    new = [path for path in above if kind_of(path) is None]
    first = next((path for path in above if path not in new), Path())
    if first.exists() and not first.is_dir():
        raise SFTKeyError(f"{what} cannot be written: {first} is {kind_of(first)}, expected a folder")
    with naming(Path(what), "written", Interrupted):
        make_folder(folder)
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _locked(lock: Path, target: Path) -> Iterator[IO[bytes]]:
    while True:
        with naming(target, "written", Interrupted):
            file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+b")
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise SFTKeyError(f"{target}: another process is writing it; wait for its end") from None
            if not _is(lock, file):  # the one who had it has just removed it
                continue
            yield file
            return


def _is(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
