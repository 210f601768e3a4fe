"""fsspec's filesystems, and trying again: what may pass is tried a few times, what stays is one line."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from sftkey_data.errors import Interrupted, SFTKeyError

TRIES = 6
FIRST_WAIT_SECONDS = 0.2  # doubled after each failure: 0.2 + 0.4 + 0.8 + 1.6 + 3.2 = 6.2 s of waiting in all
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


def may_pass(error: BaseException) -> bool:
    """Whether it may go well another time."""
    if isinstance(error, SFTKeyError) or not isinstance(error, Exception):
        return False  # said already, or Ctrl-C
    if isinstance(error, FileNotFoundError) and type(error.__cause__).__module__.startswith("aiohttp"):
        return getattr(error.__cause__, "status", None) not in (401, 403, 404, 410)  # fsspec calls a 503 not found
    return not isinstance(error, (*SETTLED, PermissionError)) and type(error).__name__ not in REFUSED


def tried(action: Callable[[], T], what: str) -> T:
    """What an action returns, tried again after failures that may pass.

    Raises:
        SFTKeyError: `what` was being done and it is not there or not possible; what the action raised as one.
        Interrupted: It kept failing, or was not allowed: a right that ran out is no reason to drop what is done.
    """
    again = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST_WAIT_SECONDS),  # doubled after every failure
        retry=retry_if_exception(may_pass),
        reraise=True,
    )
    try:
        return again(action)
    except SFTKeyError:
        raise
    except Exception as error:  # noqa: BLE001 - each driver has its own classes for what may pass
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if may_pass(error):
            raise Interrupted(f"{what} failed {TRIES} times: {said}") from None
        raise (SFTKeyError if isinstance(error, SETTLED) else Interrupted)(f"{what}: {said}") from None
