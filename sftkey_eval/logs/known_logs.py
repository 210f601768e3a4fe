"""Which program wrote a log, told from its first bytes: for those who take one for a file of completions."""

import json
import zipfile
from pathlib import Path

LM_EVAL_COLUMNS = ("doc_id", "doc", "target", "arguments", "resps")
INSPECT_KEYS = ('"eval"', '"samples"', '"status"')
_START = 1 << 16  # of Inspect's logs `eval` comes first, `samples` after its plan and results


def log_program(path: Path) -> str | None:
    """The program whose log a file is, None where it looks like neither lm-eval's samples nor a log of Inspect."""
    if not path.is_file():
        return None
    if zipfile.is_zipfile(path):
        return "Inspect"
    with path.open("rb") as file:
        first = file.readline(_START * 64)
        start = first + file.read(_START)
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        row = None
    if isinstance(row, dict) and all(column in row for column in LM_EVAL_COLUMNS):
        return "lm-eval"
    text = start.decode("utf-8", "replace")
    if text.lstrip().startswith("{") and sum(key in text for key in INSPECT_KEYS) >= 2 and '"eval"' in text:
        return "Inspect"
    return None
