"""Bytes of a file, local or by fsspec URL: nothing is ever read short without an error.

A remote server may fail (5xx), be slow, or cut a connection in the middle of a body. Every block read is compared with
its size and tried again a few times; what still fails is one line that says where.
"""

import io
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.guards.regular_file import regular
from sftkey_data.storage.filesystems import DISK_FULL, HTTP, ShortError, filesystem, local_path, may_pass, naming, tried

COPY_BYTES = 8 * 2**20


def open_read(name: str) -> IO[bytes]:
    """A seekable reader of the raw bytes of a file or URL.

    Raises:
        SFTKeyError: It is not there, cannot be read, or keeps failing (also later, on reading).
    """
    if (local := local_path(name)) is not None:
        with naming(local, "opened", SFTKeyError):
            return regular(local).open("rb")
    copy = _copy(name, os.getpid())
    length = file_size(name) if copy is None else os.fstat(copy.fileno()).st_size
    return io.BufferedReader(_Ranges(name, length or 0), COPY_BYTES)


def read_range(name: str, start: int, stop: int) -> bytes:
    """The bytes [start, stop) of a file or URL, all of them."""
    if (file := _copy(name, os.getpid()) if local_path(name) is None else open_read(name)) is not None:
        blocks = range(start, stop, COPY_BYTES)  # one call gives at most 2 GiB on Linux, see read(2)
        content = b"".join(os.pread(file.fileno(), min(COPY_BYTES, stop - at), at) for at in blocks)
        if len(content) != stop - start:
            raise SFTKeyError(f"{name}: bytes {start} to {stop} expected, it ends at {start + len(content)}")
        return content

    def read() -> bytes:
        fs, path = filesystem(name)
        content: bytes = fs.cat_file(path, start=start, end=stop)
        if len(content) != stop - start:
            raise ShortError(f"{len(content)} of {stop - start} bytes came")
        return content

    return tried(read, f"{name}: reading bytes {start} to {stop}") if stop > start else b""


def open_range(name: str, start: int, stop: int) -> IO[bytes]:
    """A reader of the bytes [start, stop) of a file or URL, which holds a block of them at a time."""
    return io.BufferedReader(_Ranges(name, stop, start), COPY_BYTES)


def file_size(name: str) -> int | None:
    """Size in bytes; None where a server does not say."""
    if (local := local_path(name)) is not None:
        with naming(local, "read", SFTKeyError):
            return local.stat().st_size
    info = find_info(name, f"{name}: asking for its size")
    if info is None:
        raise SFTKeyError(f"{name}: not found")
    if info.get("type") == "directory":
        raise SFTKeyError(f"{name} is a folder, expected a file")
    return None if info.get("size") is None else int(info["size"])


def exists(name: str) -> bool:
    """Whether a file, a folder or anything under a URL is there."""
    if (local := local_path(name)) is not None:
        with naming(local, "looked up", SFTKeyError):
            return local.exists()
    return find_info(name, f"{name}: asking whether it is there") is not None


def find_info(name: str, what: str) -> dict[str, Any] | None:
    """What the server says of a URL, None where nothing is there; `what` is being done, for the error."""
    fs, path = filesystem(name)

    def ask() -> dict[str, Any] | None:
        fs.invalidate_cache()  # a listing from before does not know what was written since
        try:
            return dict(fs.info(path))
        except FileNotFoundError as error:
            if may_pass(error):
                raise
            return None

    return tried(ask, what)


class _Ranges(io.RawIOBase):
    """A file up to its byte `length`, read by ranges, each of them whole, from `position` on."""

    def __init__(self, name: str, length: int, position: int = 0) -> None:
        self._name, self._length, self._position = name, length, position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._length, self._position + len(buffer))
        if stop <= self._position:
            return 0
        content = read_range(self._name, self._position, stop)
        buffer[: len(content)] = content
        self._position = stop
        return len(content)

    def readall(self) -> bytes:  # the inherited one asks for 8 KiB at a time
        start = self._position
        self._position = max(start, self._length)
        return b"".join(
            read_range(self._name, at, min(at + COPY_BYTES, self._length))
            for at in range(start, self._length, COPY_BYTES)
        )


@lru_cache(maxsize=16)
def _copy(name: str, pid: int) -> IO[bytes] | None:  # noqa: ARG001 - a file position must not be shared by processes
    """A whole copy on this machine, where a server does not tell a size or serves no ranges; None elsewhere."""
    length = file_size(name)
    if length is not None and _serves_ranges(name, length):
        return None
    fs, path = filesystem(name)

    def fetch() -> IO[bytes]:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
        with naming(Path(tempfile.gettempdir()), "written", Interrupted, only=DISK_FULL):
            fs.get_file(path, copy)  # compared with Content-Length there
            copy.flush()
        found = os.fstat(copy.fileno()).st_size
        if length is not None and found != length:
            raise ShortError(f"{found} of {length} bytes came")
        return copy

    return tried(fetch, f"{name}: reading it")


def _serves_ranges(name: str, length: int) -> bool:
    fs, path = filesystem(name)
    # the other schemes are made for ranges; the range asked for begins at byte 1, so a file of one byte has none
    if name.partition("://")[0] not in HTTP or length < 2:
        return True

    def ask() -> bool:
        with fs.open(path, block_size=1, cache_type="none") as file:
            try:
                file.seek(1)
                file.read(1)
            except ValueError:  # it says so before it reads on
                return False
        return True

    return tried(ask, f"{name}: asking for a range")
