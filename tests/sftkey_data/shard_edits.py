"""Changing a prepared folder behind the build's back, with hashes and digest made to fit again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from sftkey_data.prepared.manifest import Manifest


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], *, digest: bool = True) -> None:
    """Change the manifest; with `digest`, its digest is made to fit."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    if digest:
        content = json.loads(Manifest.model_validate(content).model_dump_json())
    path.write_text(json.dumps(content))


def write_rows(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
