"""Good rows with a bad one among them, in every format; and a build of them whose sums are checked."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.verify.check import check

NUM_GOOD = 40
PLACE = 30  # how many good rows stand before the bad one


def good(number: int) -> dict[str, str]:
    return {"question": f"What is {number} + 1?", "answer": f"{number} + 1 = {number + 1}.\n#### {number + 1}"}


GOOD = [json.dumps(good(number)).encode() for number in range(NUM_GOOD)]


def lines(*bad: bytes) -> bytes:
    """JSON lines with bad ones in the middle."""
    return b"".join(line + b"\n" for line in [*GOOD[:PLACE], *bad, *GOOD[PLACE:]])


def as_list(*bad: bytes) -> bytes:
    return b"[" + b",\n".join([*GOOD[:PLACE], *bad, *GOOD[PLACE:]]) + b"]"


def as_csv(*bad: bytes, header: bytes = b"question,answer") -> bytes:
    rows = [f'"What is {number} + 1?",{number} and one #### {number + 1}'.encode() for number in range(NUM_GOOD)]
    return b"\r\n".join([header, *rows[:PLACE], *bad, *rows[PLACE:]]) + b"\r\n"


def as_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def built(path: Path, content: bytes, *, workers: int = 1, **values: Any) -> Manifest:
    """Build from a file of this content; the rates of rejects are of no interest unless they are named."""
    path.write_bytes(content)
    config = {"source": "gsm8k", "inputs": (str(path),), "max_reject_rate": 0.9, **values}
    out = path.parent / f"out-{workers}"
    manifest = build(BuildConfig(**config), out, machinery=Machinery(workers))
    counts = manifest.counts
    assert counts.rows_read == counts.written + counts.rejected == sum(info.rows for info in manifest.inputs)
    assert counts.rejected == sum(manifest.rejects.values()) == len(rejects(out))
    check(out)
    return manifest


def rejects(out: Path) -> list[dict[str, Any]]:
    """The lines of `rejects.jsonl`, which any JSON reader must take."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = (out / "rejects.jsonl").read_bytes().decode()
    return [json.loads(line, parse_constant=refuse) for line in content.split("\n") if line]


def sftkey_data(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sftkey_data.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, **options)
