"""Files that appear under their name only when they are complete."""

import json
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, complete or not at all; half a surrogate pair becomes a question mark."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(text.encode("utf-8", "replace"))
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, complete or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
