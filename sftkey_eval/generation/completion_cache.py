"""Completions kept across runs: what one model once wrote for a prompt under the same sampling is not generated twice.

The key holds the hash of the model's files, its tokenizer, the versions of the libraries and all that shapes and ends
the text, so that another model, prompt or sampling never finds it. The device is not in it: what a GPU wrote, a CPU is
given too, though the last bits of its logits would differ. Kept in one SQLite file, which several runs may use at once.
Each entry has a digest: one that is not as it was written is not found, and replaced by what is generated for it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.sealed_json import DIGEST, sealed
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
        self.num_damaged = 0
        """Entries that were asked for and are not as they were written."""

    def __enter__(self) -> "Cache":
        try:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path or ":memory:", timeout=PATIENCE_SECONDS)
            self._file.text_factory = bytes.decode  # what is no UTF-8 any more is a ValueError
            with self._file:
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS completions "
                    "(key BLOB PRIMARY KEY, text TEXT, finish_reason TEXT, num_tokens INTEGER, digest TEXT) "
                    "WITHOUT ROWID"
                )
                columns = self._file.execute("PRAGMA table_info(completions)").fetchall()
                if "digest" not in [name for _, name, *_ in columns]:  # of a version before
                    with suppress(sqlite3.OperationalError):  # another run was faster
                        self._file.execute("ALTER TABLE completions ADD COLUMN digest TEXT")
        except (OSError, sqlite3.Error) as error:
            raise SFTKeyError(f"cache {self._path} cannot be used: {error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, requests: Iterable[Request]) -> list[tuple[Request, Generated]]:
        """Those requests that have been answered before, with their answers; entries without a digest are as they are.

        Raises:
            SFTKeyError: The file is damaged where no single entry is.
        """
        try:
            asked = [(request, self._entry(self._key(request))) for request in requests]
        except sqlite3.Error as error:
            raise SFTKeyError(f"cache {self._path} is damaged: {error}; delete it, or take another --cache") from None
        return [(request, generated) for request, generated in asked if generated is not None]

    def _entry(self, key: bytes) -> Generated | None:
        query = "SELECT text, finish_reason, num_tokens, digest FROM completions WHERE key = ?"
        with closing(self._file.cursor()) as cursor, suppress(ValueError, TypeError):  # of bytes that are no text
            if (row := cursor.execute(query, (key,)).fetchone()) is None:
                return None
            *values, digest = row
            if digest in (None, _digest(key, generated := Generated(*values))):
                return generated
        self.num_damaged += 1
        return None

    def keep(self, batch: Sequence[tuple[Request, Generated]]) -> None:
        """Remember a batch; a text that is no UTF-8 is left out."""
        rows = [
            (key := self._key(request), *_values(generated), _digest(key, generated))
            for request, generated in batch
            if generated.text.encode("utf-8", "replace").decode() == generated.text
        ]
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO completions VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:  # a full disk too
            raise Interrupted(f"cache {self._path} cannot be written: {error}") from None

    def _key(self, request: Request) -> bytes:
        prompt = request.item.prompt
        seed = None if self._greedy else request.seed  # greedy text is the same under every seed
        return hashlib.sha256(json.dumps([self._same, prompt, self._encoded.get(prompt), seed]).encode()).digest()


def _values(generated: Generated) -> tuple[str, str | None, int]:
    return generated.text, generated.finish_reason, generated.num_tokens


def _digest(key: bytes, generated: Generated) -> str:
    return str(sealed({"key": key.hex(), "values": _values(generated)})[DIGEST])
