"""The digest that a verdicts file holds of its own rows: who writes it and who reads it compute it here."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

METADATA_KEY, DIGEST_KEY = b"sftkey", b"sftkey_digest"
"""Of the file's metadata: its provenance; SHA-256 over that and every row, in hex."""
CHANGED = "changed since it was written, score the completions again"


def add_rows(digest: "hashlib._Hash", rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Go on with a SHA-256, begun with the provenance, over the values of these columns, row by row."""
    for row in rows:
        digest.update(json.dumps([row[name] for name in columns]).encode())
