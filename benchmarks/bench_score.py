"""How fast is grading, against Math-Verify's parse-and-verify on the same real outputs: rows per second, as ratios.

    python benchmarks/bench_score.py --out benchmarks/results/score.jsonl

Candidates, each from raw completions and golds in memory to verdicts in memory:
`sftkey score` is all that `sftkey-eval score` does for a row: the format, the strict and the lenient answer, the last
value of the CoT, the error class; symbolic worker included. `sftkey answer` is what Math-Verify does: find the answer
in the completion and grade it. `math-verify` is `verify(parse(gold), parse(completion))` with its own settings, in the
main thread of its process, where its time limit works by signal (`--seconds`; 5 is its default).

Rows that take Math-Verify as long as its limit are counted; the second ratio leaves them out on both sides. Every run
is one process per core, each on every n-th row; the time of a run is that of its slowest process. Imports and a first
row (with it the start of our symbolic worker, the tables of the grammar on both sides) are left out on both sides and
given as `start_seconds`. The candidates take turns.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from bench_build import processor

SHARED = """
import json, sys, time
part, parts, limit, seconds, paths = *map(int, sys.argv[1:5]), sys.argv[5:]
rows = [(path, json.loads(line)) for path in paths for line in open(path, encoding="utf-8").readlines()[:limit]]
rows, began = rows[part::parts], time.perf_counter()
first = {"completion": r"So $\\boxed{\\cot x}$", "gold": r"\\frac{1}{\\tan x}"}
"""
TIMED = """
assert grade(prepare(first))
start, taken, right = time.perf_counter() - began, [], 0
for path, row in [(path, prepare(row)) for path, row in rows]:
    began = time.perf_counter()
    right += grade(row)
    taken.append((path, time.perf_counter() - began))
print(json.dumps({"start": start, "right": right, "taken": taken}))
"""
CANDIDATES = {
    "sftkey score": """
from sftkey_data.format.template import load_template
from sftkey_eval.records.completion_rows import Completion
from sftkey_eval.scoring.score import score_completion
template = load_template("boxed")
kept = dict(id="", sample=0, item_id="", dataset="", split="", prompt="", answer_type="math", choices=None)
def prepare(row):
    return Completion(completion=row["completion"], gold=row["gold"], finish_reason=row.get("finish_reason"), **kept)
def grade(row):
    return score_completion(row, template).lenient_correct
""",
    "sftkey answer": """
from sftkey_eval.kinds.grade import grade as compare
from sftkey_eval.kinds.math_kind import MATH
from sftkey_eval.extraction.candidates import find_candidate
def prepare(row):
    return row
def grade(row):
    found = find_candidate(row["completion"], MATH)
    return compare(row["gold"], found and found.text, "math").verdict == "correct"
""",
    "math-verify": """
import logging
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
def prepare(row):
    return row
def grade(row):
    gold = parse(f"${row['gold']}$", parsing_timeout=seconds)
    return verify(gold, parse(row["completion"], parsing_timeout=seconds), timeout_seconds=seconds)
""",
}
PEER = "math-verify"


@dataclass(frozen=True, slots=True)
class Run:
    """One candidate, once over all rows: per process, the file and the seconds of each of its rows."""

    start: float
    right: int
    taken: list[list[tuple[str, float]]]

    def seconds(self, path: str | None = None, without: frozenset[tuple[int, int]] = frozenset()) -> float:
        """Of the slowest process; for one file, or without some rows, given as process and row."""
        return max(
            sum(
                second
                for row, (file, second) in enumerate(rows)
                if path in (None, file) and (process, row) not in without
            )
            for process, rows in enumerate(self.taken)
        )

    def over(self, limit: float) -> frozenset[tuple[int, int]]:
        """Rows that took as long as the limit."""
        return frozenset(
            (process, row)
            for process, rows in enumerate(self.taken)
            for row, (_, second) in enumerate(rows)
            if second >= limit
        )


OURS = """
from sftkey_eval.answers.answer import Answer
from sftkey_eval.policy import DEFAULT_POLICY
from sftkey_eval.symbolic.symbolic_rule import same_expression
answers = Answer(first["gold"]), Answer(r"\\cot x")
assert same_expression(*answers, DEFAULT_POLICY) == ("correct", "symbolic")  # the worker runs
"""


def main() -> None:
    options = parse()
    runs: dict[str, list[Run]] = {name: [] for name in CANDIDATES}
    for repeat in range(options.repeats):
        for name in CANDIDATES:
            if name == PEER and repeat >= options.peer_repeats:
                continue
            runs[name].append(run(name, options))
            print(name, round(runs[name][-1].seconds(), 2), runs[name][-1].right, flush=True)
    over = frozenset.union(*(each.over(options.seconds) for each in runs[PEER]))
    report = {
        "results": {name: result(runs[name], runs[PEER], over, options) for name in CANDIDATES},
        "rows_at_math_verifys_limit": len(over),
        "limit_seconds": options.seconds,
        **facts(options, sum(map(len, runs[PEER][0].taken))),
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
    parser.add_argument("--peer-repeats", type=int, default=5, help="turns of Math-Verify, which takes minutes each")
    parser.add_argument("--limit", type=int, default=1_000_000, help="rows of each file")
    parser.add_argument("--seconds", type=int, default=5, help="Math-Verify's limit; a shorter one is in its favour")
    parser.add_argument("--out", help="JSON lines file to append to")
    options = parser.parse_args()
    if not options.input:
        parser.error("no --input, and none found in $SFTKEY_SHARED_DATA/outputs")
    return options


def real_outputs() -> list[str]:
    """Answers in mathematics; Math-Verify reads no option letters, so MMLU-Pro is left out."""
    folder = Path(os.environ.get("SFTKEY_SHARED_DATA", "../shared/data")) / "outputs"
    return sorted(map(str, [*folder.glob("math500_*.jsonl"), *folder.glob("gsm8k_gpt3.jsonl")]))


def run(name: str, options: argparse.Namespace) -> Run:
    command = [sys.executable, "-c", SHARED + CANDIDATES[name] + (TIMED if name == PEER else OURS + TIMED)]
    settings = [str(options.limit), str(options.seconds), *options.input]
    processes = [
        subprocess.Popen([*command, str(part), str(options.processes), *settings], stdout=subprocess.PIPE, text=True)
        for part in range(options.processes)
    ]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{name} failed")
    parts = [json.loads(text) for text in printed]
    taken = [[(path, second) for path, second in part["taken"]] for part in parts]
    return Run(max(part["start"] for part in parts), sum(part["right"] for part in parts), taken)


def result(
    runs: list[Run], peers: list[Run], over: frozenset[tuple[int, int]], options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds and, but for the peer itself, how many times as fast: in all, without the peer's slow rows, per file."""
    seconds = [each.seconds() for each in runs]
    rows = sum(map(len, runs[0].taken))
    found = {
        "rows_per_second": round(rows / statistics.median(seconds)),
        "seconds": middle(seconds),
        "start_seconds": middle([each.start for each in runs]),
        "called_correct": runs[0].right,
        "repeats": len(runs),
    }
    if runs is peers:
        return found
    pairs = list(zip(runs, peers, strict=False))  # of the turns in which both ran
    ratios = {
        "all": [peer.seconds() / ours.seconds() for ours, peer in pairs],
        "without_rows_at_limit": [peer.seconds(without=over) / ours.seconds(without=over) for ours, peer in pairs],
    } | {Path(path).name: [peer.seconds(path) / ours.seconds(path) for ours, peer in pairs] for path in options.input}
    return found | {"times_math_verify": {name: middle(values) for name, values in ratios.items()}}


def middle(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {
        name: round(float(value), 2)
        for name, value in (("median", statistics.median(values)), ("low", min(values)), ("high", max(values)))
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
