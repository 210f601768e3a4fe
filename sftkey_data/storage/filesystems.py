"""fsspec's filesystems, and trying again: what may pass is tried a few times, what stays is one line."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sftkey_data.errors import Interrupted, SFTKeyError

TRIES = 6
FIRST_WAIT_SECONDS = 0.2  # doubled after every failure
HTTP = ("http", "https")
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
DRIVERS |= dict.fromkeys(HTTP, "aiohttp")
SETTLED = (FileNotFoundError, IsADirectoryError, NotImplementedError)  # trying again helps nothing
REFUSED = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")  # botocore's, known by name only
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

T = TypeVar("T")


class ShortError(OSError):
    """Fewer bytes than there must be."""


def is_url(name: str) -> bool:
    """Whether a name is an fsspec URL (`s3://…`, `file://…`)."""
    return "://" in name


def local_path(name: str) -> Path | None:
    """The path of a local name or `file://` URL; None of another URL."""
    if is_url(name) and not name.startswith("file://"):
        return None
    return Path(name.removeprefix("file://"))


@contextlib.contextmanager
def naming(path: Path, deed: str, kind: type[SFTKeyError], only: tuple[int, ...] = ()) -> Iterator[None]:
    """Failures of a disk as one line that names the path."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        # the number's own words: pyarrow's are longer
        said = os.strerror(error.errno) if error.errno else str(error)
        raise kind(f"{path} cannot be {deed}: {said}") from None


@cache
def scheme_filesystem(scheme: str, pid: int) -> Any:  # noqa: ARG001 - a connection must not be shared by processes
    """The filesystem of a scheme, made once in a process."""
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


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the path in it."""
    scheme = url.partition("://")[0]
    fs = scheme_filesystem(scheme, os.getpid())
    return fs, str(fs._strip_protocol(url))


def may_pass(error: Exception) -> bool:
    """Whether it may go well another time."""
    if isinstance(error, FileNotFoundError) and type(error.__cause__).__module__.startswith("aiohttp"):
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)  # fsspec calls a 503 not found
    return not isinstance(error, (*SETTLED, PermissionError)) and type(error).__name__ not in REFUSED


def tried(action: Callable[[], T], what: str) -> T:
    """Do it, again after a failure that may pass, and say in one line what kept failing."""
    wait = FIRST_WAIT_SECONDS
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except SFTKeyError:
            raise
        except Exception as error:  # noqa: BLE001 - each driver has its own classes for what may pass
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if not may_pass(error):
                # A right that ran out is no reason to drop what is done.
                raise (SFTKeyError if isinstance(error, SETTLED) else Interrupted)(f"{what}: {said}") from None
            if attempt == TRIES:
                raise Interrupted(f"{what} failed {TRIES} times: {said}") from None
            time.sleep(wait)
            wait *= 2
    raise AssertionError("unreachable")
