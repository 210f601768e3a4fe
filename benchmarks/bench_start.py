"""How long a user waits for a program that has little to do: `--help`, 100 completions scored, 5 rows built.

    python benchmarks/bench_start.py --out benchmarks/results/start.jsonl

Wall time of the whole command, the first of each left out, as it reads the files from the disk. `python` and `typer`
are what nothing of ours can be faster than: the interpreter alone, and the help of an empty program. A build is without
ids, and with those of each tokenizer of the shared data; the first run makes these known, as what transformers makes of
a tokenizer's files is asked once and then kept.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_build import processor
from bench_many import repeated
from bench_score import middle

EMPTY = "import typer; app = typer.Typer(); app.command()(lambda name: None); app()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("SFTKEY_SHARED_DATA", "../shared/data"))
    parser.add_argument("--input", type=Path, default=shared / "outputs" / "gsm8k_gpt3.jsonl")
    parser.add_argument("--rows", type=Path, default=shared / "raw" / "gsm8k" / "train.jsonl", help="GSM8K's")
    parser.add_argument("--tokenizers", type=Path, default=shared / "tokenizers", help="folder of tokenizers' folders")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="JSON lines file to append to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        completions, verdicts = Path(scratch) / "completions.jsonl", Path(scratch) / "verdicts.parquet"
        completions.write_text("".join(repeated(options.input, 100)), encoding="utf-8")
        rows, out = Path(scratch) / "rows.jsonl", Path(scratch) / "out"
        rows.write_text(
            "".join(options.rows.read_text(encoding="utf-8").splitlines(keepends=True)[:5]), encoding="utf-8"
        )
        build = ["-m", "sftkey_data.cli", "build", "gsm8k", "--input", str(rows), "--out", str(out)]
        score = ["score", str(completions), "--out", str(verdicts), "--template", "hash"]
        commands = {
            "python": ["-c", "pass"],
            "typer": ["-c", EMPTY, "--help"],
            "sftkey --help": ["-m", "sftkey.cli", "--help"],
            "sftkey-data --help": ["-m", "sftkey_data.cli", "--help"],
            "sftkey-data build --help": ["-m", "sftkey_data.cli", "build", "--help"],
            "sftkey-train --help": ["-m", "sftkey_train.cli", "--help"],
            "sftkey-train run --help": ["-m", "sftkey_train.cli", "run", "--help"],
            "sftkey-eval --help": ["-m", "sftkey_eval.cli", "--help"],
            "sftkey-eval score --help": ["-m", "sftkey_eval.cli", "score", "--help"],
            "sftkey-eval score, 100 rows": ["-m", "sftkey_eval.cli", *score],
            "sftkey-data build, 5 rows": build,
            **{
                f"sftkey-data build, 5 rows, {folder.name}": [*build, "--tokenizer", str(folder)]
                for folder in sorted(options.tokenizers.iterdir())
                if (folder / "tokenizer.json").is_file()
            },
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats + 1):
            for name, command in commands.items():
                verdicts.unlink(missing_ok=True)
                shutil.rmtree(out, ignore_errors=True)
                seconds[name].append(timed(command))
    report: dict[str, Any] = {
        "seconds": {name: middle(found[1:]) for name, found in seconds.items()},
        "repeats": options.repeats,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "processor": processor(),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        with Path(options.out).open("a") as file:
            file.write(json.dumps(report) + "\n")


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
