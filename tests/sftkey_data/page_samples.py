"""A prepared folder with everything that is hard to show: hostile text, split characters, long rows, rejects."""

import json
from pathlib import Path
from typing import Any

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\u202egnp \"'&amp; <!--"
DATASET = """\"\"\"Mixed.\"\"\"
from sftkey_data.extract import Parts
COLUMNS = ("q", "c", "k", "t")
def extract(row):
    return Parts(prompt=row["q"], cot=row["c"], key=row["k"], answer_type=row["t"], choices=row.get("o"))
"""
ROWS: list[dict[str, Any]] = [
    {"q": "What is 2 + 3?", "c": "2 + 3 = 5", "k": "5", "t": "number"},
    {"q": "Was 日本 𝒳?", "c": "groß 👍🏽, sagt 👩\u200d🔬", "k": "naïve 👍🏽", "t": "text"},
    {"q": HOSTILE, "c": HOSTILE, "k": "42", "t": "number"},
    {"q": "Long?", "c": "words and " * 1000, "k": "7", "t": "number"},
    {"q": "Which?", "c": "It is\n\n  blue.", "k": "B", "t": "choice", "o": ["red", HOSTILE]},
]
REJECTED: list[dict[str, Any]] = [
    {"q": "q", "c": "c", "k": "", "t": "number"},
    {"q": "q", "c": f"<Answer> {HOSTILE}", "k": "1", "t": "number"},
    {"q": "q", "c": "\ud800 <Answer>", "k": "1" * 30_000, "t": "number"},
]


def prepared_folder(folder: Path, tokenizer: str | None, template: str = "sftkey-compact") -> Path:
    """Build `ROWS` and `REJECTED`."""
    (folder / "mixed.py").write_text(DATASET)
    rows = "".join(f"{json.dumps(row)}\n" for row in ROWS + REJECTED)
    (folder / "rows.jsonl").write_text(rows)
    values = {"tokenizer": tokenizer, "template": template, "max_reject_rate": 1.0}
    inputs = (str(folder / "rows.jsonl"),)
    build(BuildConfig(source=str(folder / "mixed.py"), inputs=inputs, **values), folder / "out")
    return folder / "out"
