"""What a judge has answered: one SQLite file beside the verdicts, so that a killed run asks nothing twice."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from sftkey_data.errors import Interrupted, SFTKeyError


def request_key(address: str, body: Mapping[str, Any]) -> str:
    """Of one request by its content: another server, model, prompt or argument never finds its answer."""
    return hashlib.sha256(json.dumps([address, body], sort_keys=True).encode()).hexdigest()


class JudgeCache:
    """Replies by the key of their request; use as a context manager.

    Raises:
        SFTKeyError: The file cannot be opened, or is no cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._one_writes = Lock()

    def __enter__(self) -> "JudgeCache":
        try:
            self._file = sqlite3.connect(self.path, check_same_thread=False)
            with self._file:
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, request TEXT, reply TEXT) WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise SFTKeyError(f"{self.path}: the judge's answers cannot be kept there: {error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        (count,) = self._file.execute("SELECT COUNT(*) FROM replies").fetchone()
        return int(count)

    def find(self, key: str) -> str | None:
        """The reply to a request, None where it was never asked."""
        row = self._file.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, body: Mapping[str, Any], reply: str) -> None:
        """Have a reply on the disk when this returns, with the request for who reads the file; from any thread."""
        row = (key, json.dumps(body), reply.encode("utf-8", "replace").decode())
        try:
            with self._one_writes, self._file:
                self._file.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:  # a full disk too
            raise Interrupted(f"{self.path} cannot be written: {error}") from None
