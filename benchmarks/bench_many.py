"""Scoring and reporting many completions: seconds and the largest process, by the number of rows.

    python benchmarks/bench_many.py --rows 10000 100000 1000000 --out benchmarks/results/many.jsonl

The rows are real completions (GSM8K, GPT-3) with their questions, repeated under new ids until there are so many. Both
commands run as a user would type them. `peak_mib` is the largest sum over the command and its worker processes at any
time, in proportional set size where the system has it (pages that two processes share count once).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from bench_build import processor


def main() -> None:
    options = parse()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            report = measure(rows, Path(scratch), options)
        print(json.dumps(report, indent=2), flush=True)
        if options.out:
            with Path(options.out).open("a") as file:
                file.write(json.dumps(report) + "\n")


def parse() -> argparse.Namespace:
    shared = Path(os.environ.get("SFTKEY_SHARED_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=shared / "outputs" / "gsm8k_gpt3.jsonl")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", help="folder for the files, 1.5 kB a row")
    parser.add_argument("--out", help="JSON lines file to append to")
    return parser.parse_args()


def measure(rows: int, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    completions, verdicts = scratch / "completions.jsonl", scratch / "verdicts.parquet"
    with completions.open("w", encoding="utf-8") as file:
        file.writelines(repeated(options.input, rows))
    program = [sys.executable, "-m", "sftkey_eval.cli"]
    score = ["score", str(completions), "--out", str(verdicts), "--template", "hash", "--workers", str(options.workers)]
    return {
        "rows": rows,
        "score": timed([*program, *score]),
        "report": timed([*program, "report", str(verdicts), "--out", str(scratch / "report")]),
        "page_mib": round((scratch / "report" / "report.html").stat().st_size / 2**20, 1),
        "workers": options.workers,
        "input": options.input.name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "processor": processor(),
    }


def repeated(path: Path, rows: int) -> Iterator[str]:
    """So many rows of the file, in turns, each with an id of its own."""
    given = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number in range(rows):
        row = given[number % len(given)]
        yield (
            json.dumps(
                {
                    "id": f"{row['id']}/{number // len(given)}",
                    "prompt": row["question"],
                    "gold": row["gold"],
                    "completion": row["completion"].replace("\nA: ", "\n#### "),
                }
            )
            + "\n"
        )


def timed(command: list[str]) -> dict[str, float]:
    began, peak = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory(process))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"seconds": round(time.perf_counter() - began, 1), "peak_mib": round(peak / 2**20)}


def memory(process: psutil.Popen) -> int:
    """Bytes of a process and its children; of one that has just ended none."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            full = one.memory_full_info()
            total += getattr(full, "pss", full.rss)
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    main()
