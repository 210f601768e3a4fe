"""A folder to write, local or by fsspec URL: no file is seen half-written, and none arrives short without an error."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.appearing import (
    PARTIAL,
    appearing,
    appearing_path,
    is_own_partial,
    make_folder,
    remove_unfinished,
    replace_folder,
    write_bytes,
)
from sftkey_data.storage.file_bytes import COPY_BYTES, exists, file_size, find_info, open_read
from sftkey_data.storage.filesystems import ShortError, filesystem, local_path, naming, tried
from sftkey_data.storage.own_output import MARKER_SAYS, OUR_MARKER, foreign, held, kind_of


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to write, local or a URL; file names are relative to it."""

    url: str

    def exists(self) -> bool:
        """Whether it is there (of a URL: whether anything lies under it)."""
        return exists(self.url)

    def names(self) -> list[str]:
        """All files in it and below, sorted, unfinished ones aside."""
        if (root := local_path(self.url)) is not None:
            found = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
            return sorted(name for name in found if not is_own_partial(Path(name).name))
        fs, path = filesystem(self.url)

        def find() -> list[str]:
            fs.invalidate_cache()
            return [str(name) for name in fs.find(path)]

        return sorted(name[len(path.rstrip("/")) + 1 :] for name in tried(find, f"{self.url}: listing it"))

    def mark(self) -> None:
        """Say, before anything else lies in it, that it is ours."""
        self.write_bytes(OUR_MARKER, MARKER_SAYS)

    def refuse_foreign(self) -> None:
        """Refuse what is not ours to replace or remove.

        Raises:
            SFTKeyError: It is no folder, or one that is not empty and has no marker of ours.
        """
        if (root := local_path(self.url)) is not None:
            if (kind := kind_of(root)) not in (None, "a folder"):
                raise SFTKeyError(f"output {self.url} is {kind}, expected a folder")
            found = foreign(root)
        else:
            names = self.names() if self.exists() else []
            found = None if OUR_MARKER in names else next(iter(names), None)
        if found is not None:
            raise SFTKeyError(
                f"output folder {self.url} is not empty and not written by sftkey-data, found {found}: "
                "name another --out, or move it away"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes off a local folder of this name meanwhile; an object store has no locks.

        Raises:
            SFTKeyError: Another process writes it.
        """
        root = local_path(self.url)
        with held(root) if root is not None else contextlib.nullcontext():
            yield

    def read_bytes(self, name: str) -> bytes:
        """The content of a file."""
        with open_read(self._at(name)) as file:
            return file.read()

    def sha256(self, name: str) -> str:
        """SHA-256 of a file, which is read piece by piece."""
        total = hashlib.sha256()
        with open_read(self._at(name)) as file:
            while block := file.read(COPY_BYTES):
                total.update(block)
        return total.hexdigest()

    def local_copy(self, name: str, scratch: Path) -> Path:
        """A path to read: the file itself, or a copy in `scratch` of a remote one."""
        if (local := local_path(self._at(name))) is not None:
            return local
        (copy := scratch / name).write_bytes(self.read_bytes(name))
        return copy

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file that is never seen half-written."""
        if (target := local_path(self._at(name))) is None:
            self._put(name, len(content), lambda fs, path: fs.pipe_file(path, content))
            return
        with _named(target):
            write_bytes(target, content)

    @contextlib.contextmanager
    def appearing_path(self, name: str) -> Iterator[Path]:
        """A path on this machine to write, whose file gets its place here when all went well."""
        if (target := local_path(self._at(name))) is not None:
            with _named(target), appearing_path(target) as partial:
                yield partial
            return
        # an object store has no renaming: the file is finished here first, then sent
        temporary = Path(tempfile.gettempdir())
        with naming(temporary, "written", Interrupted), tempfile.TemporaryDirectory(suffix=PARTIAL) as scratch:
            local = Path(scratch) / Path(name).name
            yield local
            self.put_file(local, name)

    def put_file(self, local: Path, name: str) -> None:
        """Move a finished local file to its place here.

        Raises:
            Interrupted: It could not be written; the local file is still there.
        """
        if local_path(self._at(name)) is None:
            with naming(local, "read", SFTKeyError):
                expected = local.stat().st_size
            self._put(name, expected, lambda fs, path: fs.put_file(str(local), path))
        else:
            with self.appearing_path(name) as partial:
                shutil.copyfile(local, partial)  # not renamed: it may lie on another disk
        local.unlink()

    def delete(self, name: str) -> None:
        """Remove a file; one that is gone already is no error."""
        if (target := local_path(self._at(name))) is not None:
            with naming(target, "removed", Interrupted):
                target.unlink(missing_ok=True)
            return
        fs, path = filesystem(self._at(name))

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):  # an answer was lost, or another process was faster
                fs.rm_file(path)

        tried(remove, f"{self._at(name)}: removing it")

    def clear(self) -> None:
        """Remove everything in it, the marker last so that it can be repeated if killed, and a local folder itself."""
        if (root := local_path(self.url)) is not None:
            with naming(root, "removed", Interrupted), contextlib.suppress(FileNotFoundError):
                for path in root.iterdir():
                    if path.name != OUR_MARKER:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                (root / OUR_MARKER).unlink(missing_ok=True)
                root.rmdir()
            return
        for name in _marker_last(self.names()):
            self.delete(name)

    def remove_unfinished(self) -> None:
        """Remove files that workers were writing when they were stopped or killed; an object store has none."""
        if (root := local_path(self.url)) is not None and root.is_dir():
            for folder, _, _ in os.walk(root):
                remove_unfinished(Path(folder))

    def publish(self, final: "Folder", last: str) -> None:
        """Give everything its final place, replacing what is there; `last` comes last, so what has it is complete.

        A local folder is renamed. Remote files are copied by the server, then removed here; interrupted, the same call
        goes on.
        """
        root, place = local_path(self.url), local_path(final.url)
        if root is not None and place is not None:
            with naming(place, "replaced", Interrupted):
                self.remove_unfinished()
                replace_folder(root, place)
            return
        names = sorted(self.names(), key=lambda name: (name == last, name))
        if last not in names:
            raise SFTKeyError(f"{self.url}: {last} expected, it is not there: nothing to publish")
        there = final.names()
        # The same `last` is there: a publishing that was interrupted, maybe while files were removed here.
        if last not in there or final.read_bytes(last) != self.read_bytes(last):
            # the old `last` goes first: a folder half old and half new never looks complete
            for stale in sorted({last} & set(there)) + sorted(set(there) - set(names)):
                final.delete(stale)
        for name in names:
            _, source = filesystem(self._at(name))
            final._put(name, file_size(self._at(name)), partial(_copy_there, source))
        for name in _marker_last(names):
            self.delete(name)

    def fetch(self, to: Path) -> None:
        """Copy everything to a local folder."""
        for name in self.names():
            with _named(to / name), appearing(to / name) as target, open_read(self._at(name)) as source:
                shutil.copyfileobj(source, target, COPY_BYTES)

    def child(self, name: str) -> "Folder":
        """A folder in it."""
        return Folder(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _put(self, name: str, expected: int | None, write: Callable[[Any, str], object]) -> None:
        fs, path = filesystem(self._at(name))

        def put() -> None:
            try:
                write(fs, path)
            except FileNotFoundError as error:
                if "upload" in str(error):  # of several parts, completed although its answer was lost
                    raise ShortError(str(error)) from None
                raise
            found = (find_info(self._at(name), f"{self._at(name)}: asking for its size") or {}).get("size", 0)
            if expected is not None and found != expected:
                raise ShortError(f"{found} of {expected} bytes arrived")

        tried(put, f"{self._at(name)}: writing it")


def _marker_last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: name == OUR_MARKER)


def _copy_there(source: str, fs: Any, path: str) -> None:
    fs.cp_file(source, path)


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    """The folder above a local target is there, and whatever a disk says is one line that names the target."""
    with naming(target, "written", Interrupted):
        make_folder(target.parent)
        yield
