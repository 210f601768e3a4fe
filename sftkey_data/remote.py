"""Bytes in and out, local or by fsspec URL: nothing is ever read short or written short without an error.

A remote server may fail (5xx), be slow, or cut a connection in the middle of a body. Every block read and every object
written is compared with its size and tried again a few times; what still fails is one line that says where.
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import IO, Any, TypeVar

from sftkey_data.errors import Interrupted, SFTKeyError

BLOCK = 8 * 2**20
TRIES = 6
FIRST_WAIT_SECONDS = 0.2  # doubled after every failure
HTTP = ("http", "https")
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
DRIVERS |= dict.fromkeys(HTTP, "aiohttp")
SETTLED = (FileNotFoundError, IsADirectoryError, NotImplementedError)  # trying again helps nothing
REFUSED = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")  # botocore's, known by name only
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

T = TypeVar("T")


class _ShortError(OSError):
    """Fewer bytes than there must be."""


def is_url(name: str) -> bool:
    """Whether a name is an fsspec URL (`s3://…`, `file://…`)."""
    return "://" in name


def open_read(name: str) -> IO[bytes]:
    """A seekable reader of the raw bytes of a file or URL.

    Raises:
        SFTKeyError: It is not there, cannot be read, or keeps failing (also later, on reading).
    """
    if (local := _local(name)) is not None:
        with naming(local, "opened", SFTKeyError):
            return local.open("rb")
    copy = _copy(name, os.getpid())
    length = size(name) if copy is None else os.fstat(copy.fileno()).st_size
    return io.BufferedReader(_Ranges(name, length or 0), BLOCK)


def read_range(name: str, start: int, stop: int) -> bytes:
    """The bytes [start, stop) of a file or URL, all of them."""
    if (file := _copy(name, os.getpid()) if _local(name) is None else open_read(name)) is not None:
        blocks = range(start, stop, BLOCK)
        content = b"".join(os.pread(file.fileno(), min(BLOCK, stop - at), at) for at in blocks)
        if len(content) != stop - start:
            raise SFTKeyError(f"{name}: bytes {start} to {stop} expected, it ends at {start + len(content)}")
        return content

    def read() -> bytes:
        fs, path = _filesystem(name)
        content: bytes = fs.cat_file(path, start=start, end=stop)
        if len(content) != stop - start:
            raise _ShortError(f"{len(content)} of {stop - start} bytes came")
        return content

    return _tried(read, f"{name}: reading bytes {start} to {stop}") if stop > start else b""


def size(name: str) -> int | None:
    """Size in bytes; None where a server does not say."""
    if (local := _local(name)) is not None:
        with naming(local, "read", SFTKeyError):
            return local.stat().st_size
    info = _info(name, f"{name}: asking for its size")
    if info is None:
        raise SFTKeyError(f"{name}: not found")
    if info.get("type") == "directory":
        raise SFTKeyError(f"{name} is a folder, expected a file")
    return None if info.get("size") is None else int(info["size"])


def exists(name: str) -> bool:
    """Whether a file, a folder or anything under a URL is there."""
    if (local := _local(name)) is not None:
        with naming(local, "looked up", SFTKeyError):
            return local.exists()
    return _info(name, f"{name}: asking whether it is there") is not None


def _info(name: str, what: str) -> dict[str, Any] | None:
    fs, path = _filesystem(name)

    def ask() -> dict[str, Any] | None:
        fs.invalidate_cache()
        try:
            return dict(fs.info(path))
        except FileNotFoundError as error:
            if _may_pass(error):
                raise
            return None

    return _tried(ask, what)


class _Ranges(io.RawIOBase):
    """A remote file read by ranges, each of them whole."""

    def __init__(self, name: str, length: int) -> None:
        self._name, self._length, self._position = name, length, 0

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
            read_range(self._name, at, min(at + BLOCK, self._length)) for at in range(start, self._length, BLOCK)
        )


@lru_cache(maxsize=16)
def _copy(name: str, pid: int) -> IO[bytes] | None:  # noqa: ARG001 - a file position must not be shared by processes
    """A whole copy on this machine, where a server does not tell a size or serves no ranges; None elsewhere."""
    length = size(name)
    if length is not None and _serves_ranges(name, length):
        return None
    fs, path = _filesystem(name)

    def fetch() -> IO[bytes]:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
        with naming(Path(tempfile.gettempdir()), "written", Interrupted, only=DISK_FULL):
            fs.get_file(path, copy)  # compared with Content-Length there
            copy.flush()
        found = os.fstat(copy.fileno()).st_size
        if length is not None and found != length:
            raise _ShortError(f"{found} of {length} bytes came")
        return copy

    return _tried(fetch, f"{name}: reading it")


def _serves_ranges(name: str, length: int) -> bool:
    fs, path = _filesystem(name)
    if name.partition("://")[0] not in HTTP or length < 2:  # the others are made for ranges
        return True

    def ask() -> bool:
        with fs.open(path, block_size=1, cache_type="none") as file:
            try:
                file.seek(1)
                file.read(1)
            except ValueError:  # it says so before it reads on
                return False
        return True

    return _tried(ask, f"{name}: asking for a range")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to write, local or a URL; file names are relative to it."""

    url: str

    def exists(self) -> bool:
        """Whether it is there (of a URL: whether anything lies under it)."""
        return exists(self.url)

    def names(self) -> list[str]:
        """All files in it and below, sorted, unfinished ones aside."""
        if (root := _local(self.url)) is not None:
            found = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
            return sorted(name for name in found if not name.endswith(".partial"))
        fs, path = _filesystem(self.url)

        def find() -> list[str]:
            fs.invalidate_cache()
            return [str(name) for name in fs.find(path)]

        return sorted(name[len(path.rstrip("/")) + 1 :] for name in _tried(find, f"{self.url}: listing it"))

    def read_bytes(self, name: str) -> bytes:
        """The content of a file."""
        with open_read(self._at(name)) as file:
            return file.read()

    def local_copy(self, name: str, scratch: Path) -> Path:
        """A path to read: the file itself, or a copy in `scratch` of a remote one."""
        if (local := _local(self._at(name))) is not None:
            return local
        (copy := scratch / name).write_bytes(self.read_bytes(name))
        return copy

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file that is never seen half-written."""
        if (target := _local(self._at(name))) is None:
            self._put(name, len(content), lambda fs, path: fs.pipe_file(path, content))
            return
        with _whole(target) as half:
            half.write_bytes(content)

    def put_file(self, local: Path, name: str) -> None:
        """Move a finished local file to its place here."""
        if (target := _local(self._at(name))) is None:
            with naming(local, "read", SFTKeyError):
                expected = local.stat().st_size
            self._put(name, expected, lambda fs, path: fs.put_file(str(local), path))
            local.unlink()
            return
        with _whole(target) as half:
            shutil.move(local, half)  # a copy where the disk is another

    def delete(self, name: str) -> None:
        """Remove a file; one that is gone already is no error."""
        if (target := _local(self._at(name))) is not None:
            with naming(target, "removed", Interrupted):
                target.unlink(missing_ok=True)
            return
        fs, path = _filesystem(self._at(name))

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):  # an answer was lost, or another process was faster
                fs.rm_file(path)

        _tried(remove, f"{self._at(name)}: removing it")

    def clear(self) -> None:
        """Remove everything in it, and a local folder itself."""
        if (root := _local(self.url)) is not None:
            with naming(root, "removed", Interrupted), contextlib.suppress(FileNotFoundError):
                shutil.rmtree(root)
            return
        for name in self.names():
            self.delete(name)

    def publish(self, final: "Folder", last: str) -> None:
        """Give everything its final place, replacing what is there; `last` comes last, so what has it is complete.

        A local folder is renamed. Remote files are copied by the server, then removed here; interrupted, the same call
        goes on.
        """
        root, place = _local(self.url), _local(final.url)
        if root is not None and place is not None:
            _rename(root, place)
            return
        names = sorted(self.names(), key=lambda name: (name == last, name))
        if last not in names:
            raise SFTKeyError(f"{self.url}: {last} expected, it is not there: nothing to publish")
        there = final.names()
        # The same `last` is there: a publishing that was interrupted, maybe while files were removed here.
        if last not in there or final.read_bytes(last) != self.read_bytes(last):
            for stale in sorted({last} & set(there)) + sorted(set(there) - set(names)):
                final.delete(stale)
        for name in names:
            _, source = _filesystem(self._at(name))
            final._put(name, size(self._at(name)), partial(_copy_there, source))
        for name in names:
            self.delete(name)

    def fetch(self, to: Path) -> None:
        """Copy everything to a local folder."""
        for name in self.names():
            with _whole(to / name) as half, open_read(self._at(name)) as source, half.open("wb") as target:
                shutil.copyfileobj(source, target, BLOCK)

    def child(self, name: str) -> "Folder":
        """A folder in it."""
        return Folder(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _put(self, name: str, expected: int | None, write: Callable[[Any, str], object]) -> None:
        fs, path = _filesystem(self._at(name))

        def put() -> None:
            try:
                write(fs, path)
            except FileNotFoundError as error:
                if "upload" in str(error):  # of several parts, completed although its answer was lost
                    raise _ShortError(str(error)) from None
                raise
            found = (_info(self._at(name), f"{self._at(name)}: asking for its size") or {}).get("size", 0)
            if expected is not None and found != expected:
                raise _ShortError(f"{found} of {expected} bytes arrived")

        _tried(put, f"{self._at(name)}: writing it")


def _copy_there(source: str, fs: Any, path: str) -> None:
    fs.cp_file(source, path)


def _rename(root: Path, place: Path) -> None:
    """Put a local folder at a place, at once; what was there is removed after it."""
    replaced = place.with_name(f".{place.name}.replaced")
    with naming(place, "replaced", Interrupted):
        for unfinished in root.rglob("*.partial"):  # of a worker that was killed
            unfinished.unlink(missing_ok=True)
        if replaced.exists():
            shutil.rmtree(replaced)
        if place.exists():
            place.rename(replaced)
        root.rename(place)
        if replaced.exists():
            shutil.rmtree(replaced)


def _local(name: str) -> Path | None:
    if is_url(name) and not name.startswith("file://"):
        return None
    return Path(name.removeprefix("file://"))


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A name of one's own to write, which takes the target's place when all went well."""
    half = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with naming(target, "written", Interrupted):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield half
            half.replace(target)
    finally:
        with contextlib.suppress(OSError):
            half.unlink()


@contextlib.contextmanager
def naming(path: Path, deed: str, kind: type[SFTKeyError], only: tuple[int, ...] = ()) -> Iterator[None]:
    """Failures of a disk as one line that names the path."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise kind(f"{path} cannot be {deed}: {error.strerror or error}") from None


@cache
def _scheme_filesystem(scheme: str, pid: int) -> Any:  # noqa: ARG001 - a connection must not be shared by processes
    import fsspec

    options = {}
    try:
        if scheme in HTTP:
            import aiohttp

            # A download may take its time; a server that falls silent may not.
            options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
        return fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    except ImportError:
        package = DRIVERS.get(scheme, "its fsspec driver")
        raise SFTKeyError(f"{scheme}:// needs {package}, not installed: pip install {package}") from None
    except ValueError as error:
        raise SFTKeyError(f"{scheme}://: {error}") from None


def _filesystem(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    fs = _scheme_filesystem(scheme, os.getpid())
    return fs, str(fs._strip_protocol(url))


def _may_pass(error: Exception) -> bool:
    """Whether it may go well another time."""
    if isinstance(error, FileNotFoundError) and type(error.__cause__).__module__.startswith("aiohttp"):
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)  # fsspec calls a 503 not found
    return not isinstance(error, (*SETTLED, PermissionError)) and type(error).__name__ not in REFUSED


def _tried(action: Callable[[], T], what: str) -> T:
    """Do it, again after a failure that may pass, and say in one line what kept failing."""
    wait = FIRST_WAIT_SECONDS
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except SFTKeyError:
            raise
        except Exception as error:  # noqa: BLE001 - each driver has its own classes for what may pass
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if not _may_pass(error):
                # A right that ran out is no reason to drop what is done.
                raise (SFTKeyError if isinstance(error, SETTLED) else Interrupted)(f"{what}: {said}") from None
            if attempt == TRIES:
                raise Interrupted(f"{what} failed {TRIES} times: {said}") from None
            time.sleep(wait)
            wait *= 2
    raise AssertionError("unreachable")
