"""How fast is grading, against Math-Verify's parse-and-verify on the same real outputs: answers per second, as a ratio.

    python benchmarks/bench_score.py --input math500_a.jsonl gsm8k_gpt3.jsonl --out benchmarks/results/score.jsonl

Candidates: `sftkey` scores every completion in full (format, Key, lenient candidate, last value of the CoT: three
grades each, symbolic worker included); `math-verify` parses gold and completion and verifies, with its own defaults
but the time limits off, as in a process without signals. Both read from memory and start no result file. Each run is
a process of its own per core, on an equal share of the rows; the time is that of the slowest, imports left out and
the start of our symbolic worker left in. The candidates take turns.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from bench_build import processor

SHARED = """
import json, sys, time
part, parts, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
rows = [json.loads(line) for path in paths for line in open(path, encoding="utf-8")][part::parts]
"""
CANDIDATES = {
    "sftkey": """
from sftkey_data.template import load_template
from sftkey_eval.completions import Completion
from sftkey_eval.score import score_completion
template = load_template("boxed")
kept = dict(sample=0, item_id="", dataset="", split="", prompt="", answer_type="math", choices=None)
known = [
    Completion(id=str(n), completion=r["completion"], gold=r["gold"], finish_reason=r.get("finish_reason"), **kept)
    for n, r in enumerate(rows)
]
began = time.perf_counter()
right = sum(score_completion(row, template).lenient_correct for row in known)
print(time.perf_counter() - began, right)
""",
    "math-verify": """
import logging
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
began = time.perf_counter()
right = 0
for row in rows:
    gold = parse(f"${row['gold']}$", parsing_timeout=None)
    right += verify(gold, parse(row["completion"], parsing_timeout=None), timeout_seconds=None)
print(time.perf_counter() - began, right)
""",
}


def main() -> None:
    options = parse()
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    right: dict[str, int] = {}
    for _ in range(options.repeats):
        for name in CANDIDATES:
            taken, right[name] = run(name, options)
            seconds[name].append(taken)
            print(name, round(taken, 2), right[name], flush=True)
    rows = sum(Path(path).read_bytes().count(b"\n") for path in options.input)
    ratios = [theirs / ours for ours, theirs in zip(seconds["sftkey"], seconds["math-verify"], strict=True)]
    report = {
        "results": {name: summary(taken, right[name], rows) for name, taken in seconds.items()},
        "times math-verify": round(statistics.median(ratios), 2),
        "ratio spread": [round(min(ratios), 2), round(max(ratios), 2)],
        **facts(options, rows),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        with Path(options.out).open("a") as file:
            file.write(json.dumps(report) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", default=real_outputs(), help="JSON lines with completion and gold")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="JSON lines file to append to")
    options = parser.parse_args()
    if not options.input:
        parser.error("no --input, and none found in $SFTKEY_SHARED_DATA/outputs")
    return options


def real_outputs() -> list[str]:
    folder = Path(os.environ.get("SFTKEY_SHARED_DATA", "../shared/data")) / "outputs"
    return sorted(map(str, [*folder.glob("math500_*.jsonl"), *folder.glob("gsm8k_gpt3.jsonl")]))


def run(name: str, options: argparse.Namespace) -> tuple[float, int]:
    """Seconds of the slowest process, and how many answers all of them called correct."""
    command = [sys.executable, "-c", SHARED + CANDIDATES[name]]
    processes = [
        subprocess.Popen(
            [*command, str(part), str(options.processes), *options.input], stdout=subprocess.PIPE, text=True
        )
        for part in range(options.processes)
    ]
    printed = [process.communicate()[0].split() for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{name} failed")
    return max(float(taken) for taken, _ in printed), sum(int(right) for _, right in printed)


def summary(seconds: list[float], right: int, rows: int) -> dict[str, Any]:
    middle = statistics.median(seconds)
    return {
        "rows_per_second": round(rows / middle),
        "seconds": round(middle, 2),
        "spread": [round(min(seconds), 2), round(max(seconds), 2)],
        "called_correct": right,
        "repeats": len(seconds),
    }


def facts(options: argparse.Namespace, rows: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ("sftkey", "math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime")
    return {
        "rows": rows,
        "input": [Path(path).name for path in options.input],
        "processes": options.processes,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {d.name: d.version for d in distributions() if d.name in packages},
        "commit": commit,
        "processor": processor(),
    }


if __name__ == "__main__":
    main()
