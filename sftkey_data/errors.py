"""The one error class for what a user can mend, and its children where a caller must tell them apart."""

import difflib
from collections.abc import Iterable


class SFTKeyError(Exception):
    """Something the user can mend: one line that says what was found, what was expected, and where."""


class Interrupted(SFTKeyError):  # noqa: N818 - names what happened to the work
    """Something outside failed (a server, a disk, a worker): what is done is kept, the same command goes on."""


class Stopped(SFTKeyError):  # noqa: N818 - names what happened to the work
    """A signal has stopped the work; the line says what is kept, and `code` is the exit code."""

    def __init__(self, kept: str, code: int) -> None:
        super().__init__(kept, code)
        self.kept, self.code = kept, code

    def __str__(self) -> str:
        return self.kept


class NothingLeft(SFTKeyError):  # noqa: N818 - names what became of the rows
    """Every row of a build was rejected, so there is no folder; `reasons` are the rejects, with their numbers."""

    def __init__(self, found: str, reasons: str = "") -> None:
        super().__init__(found)
        self.reasons = reasons


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known name, or an empty string when none is close."""
    by_lower_case = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    return f" (did you mean {by_lower_case[close[0]]!r}?)" if close else ""
