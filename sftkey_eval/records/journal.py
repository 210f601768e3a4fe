"""Completions on disk: appended batch by batch, resumed after a kill, put in order at the end."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import PARTIAL, appearing, sync_folder
from sftkey_data.storage.sealed_json import read_sealed_lines, sealed_line, unsealed_line

_MEND = "delete the line to have its item done again, or start anew with --overwrite"


class Journal:
    """Lines of `FILE.partial`, each a sealed JSON object with an `id`; becomes `FILE` when every id is there.

    Use as a context manager: entering drops a half-written last line and locks the file against a second writer.

    Args:
        path: The final file.
        ids: Every expected id, in the order the final file is to have.
        keeps_digests: The final lines have one each, too; of a file whose digest lies elsewhere they need none.
    """

    def __init__(self, path: Path, ids: Sequence[str], *, keeps_digests: bool = False) -> None:
        self.path = path
        self.partial = partial_path(path)
        self._ids = ids
        self._keeps_digests = keeps_digests
        self._lines: dict[str, bytes] = {}

    def __enter__(self) -> "Journal":
        self._file = self.partial.open("ab+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise SFTKeyError(f"{self.partial} is being written by another run") from None
        sync_folder(self.partial.parent)  # what is appended needs a name that survives too
        try:
            self._recover()
        except SFTKeyError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._lines:
            self.partial.unlink(missing_ok=True)  # nothing to resume: leave nothing behind
        self._file.close()

    @property
    def missing(self) -> list[str]:
        """Ids without a line yet, in order."""
        return [id_ for id_ in self._ids if id_ not in self._lines]

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add whole rows and say how many; they are on disk when this returns. Ids already there are skipped."""
        new = {row["id"]: sealed_line(row) for row in rows if row["id"] not in self._lines}
        self._file.write(b"".join(new.values()))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lines.update(new)
        return len(new)

    def sha256(self) -> str:
        """Of the final file, before it has its name: whoever writes it down first leaves none without a digest.

        Raises:
            SFTKeyError: As `finish`.
        """
        total = hashlib.sha256()
        for line in self._final_lines():
            total.update(line)
        return total.hexdigest()

    def finish(self) -> None:
        """Write the final file, in order, and drop the partial one.

        Raises:
            SFTKeyError: An id has no line.
        """
        lines = self._final_lines()
        with appearing(self.path) as file:
            file.writelines(lines)
        self.partial.unlink()  # after the final file has its name: a kill between the two loses nothing

    def _recover(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1  # a line without its end was cut by a kill: drop it, its item is redone
        self._file.truncate(whole)
        known = set(self._ids)
        for number, row in enumerate(read_sealed_lines(self.partial, _MEND, content[:whole]), start=1):
            id_ = row.get("id")
            if not isinstance(id_, str) or id_ not in known or id_ in self._lines:
                raise SFTKeyError(
                    f"{self.partial} line {number}: id {id_!r} is no open item of this run; --overwrite starts again"
                )
            self._lines[id_] = sealed_line(row)

    def _final_lines(self) -> Iterator[bytes]:
        if missing := self.missing:
            raise SFTKeyError(f"{self.partial}: {len(missing)} items are missing, the first is {missing[0]!r}")
        lines = (self._lines[id_] for id_ in self._ids)
        return lines if self._keeps_digests else map(unsealed_line, lines)


def partial_path(path: Path) -> Path:
    """Where unfinished completions of `path` are kept."""
    return path.with_name(f"{path.name}{PARTIAL}")
