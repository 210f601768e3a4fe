"""Completions kept across runs: what one model once wrote for a prompt under the same sampling is not generated twice.

The key holds the hash of the model's files, its tokenizer, the versions of the libraries and all that shapes and ends
the text, so that another model, prompt or sampling never finds it. The device is not in it: what a GPU wrote, a CPU is
given too, though the last bits of its logits would differ. Kept in one SQLite file, which several runs may use at once.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.records.run_record import RunRecord

CACHE_FILE = "completions.sqlite"
PATIENCE_SECONDS = 60.0  # how long a run waits for another that is writing


class Cache:
    """The completions of one model under one sampling; use as a context manager.

    Args:
        folder: Where the file is, or will be; None keeps it in memory, so that it knows nothing at first.
        record: Model and sampling.
        encoded: Token ids of every prompt; empty where the back-end keeps its tokenizer to itself.

    Raises:
        SFTKeyError: The file cannot be opened, or is no cache.
    """

    def __init__(self, folder: Path | None, record: RunRecord, encoded: dict[str, list[int]]) -> None:
        self._path = folder / CACHE_FILE if folder is not None else None
        sampling = dict(record.sampling)
        self._greedy = sampling["temperature"] == 0
        for name in ("num_samples", "seed"):  # each request has its own
            del sampling[name]
        model = (record.model.fingerprint, record.model.tokenizer_fingerprint, *record.model.options.values())
        self._same = json.dumps([model, record.model.end_token_ids, sampling, record.versions], sort_keys=True)
        self._encoded = encoded

    def __enter__(self) -> "Cache":
        try:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path or ":memory:", timeout=PATIENCE_SECONDS)
            with self._file:
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS completions "
                    "(key BLOB PRIMARY KEY, text TEXT, finish_reason TEXT, num_tokens INTEGER) WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise SFTKeyError(f"cache {self._path} cannot be used: {error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, requests: Iterable[Request]) -> list[tuple[Request, Generated]]:
        """Those requests that have been answered before, with their answers."""
        found = []
        with closing(self._file.cursor()) as cursor:
            for request in requests:
                row = cursor.execute(
                    "SELECT text, finish_reason, num_tokens FROM completions WHERE key = ?", (self._key(request),)
                ).fetchone()
                if row is not None:
                    found.append((request, Generated(*row)))
        return found

    def keep(self, batch: Sequence[tuple[Request, Generated]]) -> None:
        """Remember a batch; a text that is no UTF-8 is left out."""
        rows = [
            (self._key(request), generated.text, generated.finish_reason, generated.num_tokens)
            for request, generated in batch
            if generated.text.encode("utf-8", "replace").decode() == generated.text
        ]
        try:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO completions VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:  # a full disk too
            raise Interrupted(f"cache {self._path} cannot be written: {error}") from None

    def _key(self, request: Request) -> bytes:
        prompt = request.item.prompt
        seed = None if self._greedy else request.seed  # greedy text is the same under every seed
        return hashlib.sha256(json.dumps([self._same, prompt, self._encoded.get(prompt), seed]).encode()).digest()
