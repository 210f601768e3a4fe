"""Fuzz what reads strangers' texts and files: `python tests/fuzzing/run_fuzz.py --minutes N [--record]`.

Each target gets its share of the time in a process of its own, and goes on from the corpus that the last run has left
in --folder. What fails is kept there too, below `failures`: the input, and beside it what it raised. With --record
the counts are added to benchmarks/results/fuzzing.json. It needs atheris: `pip install '.[fuzz]'`, on Linux.
"""

import argparse
import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fuzz_files import FILE_TARGETS
from fuzz_texts import TEXT_TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "fuzzing.json"
TARGETS = (*TEXT_TARGETS, *FILE_TARGETS)
MAX_INPUT_BYTES = 8192
HANGS_SECONDS = 120
TURN_SECONDS = 100
"""A target's turn; all have one before the first has its next, so that a run that is stopped has seen them all."""


def main() -> None:
    """Console script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="in total, over the targets")
    parser.add_argument("--target", action="append", choices=[target.name for target in TARGETS], help="repeatable")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    parser.add_argument("--folder", type=Path, default=cache / "sftkey" / "fuzzing", help="of corpus and failures")
    parser.add_argument("--record", action="store_true", help="add to the record")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install '.[fuzz]', on Linux")
    chosen = [target for target in TARGETS if not asked.target or target.name in asked.target]
    for target, seconds in turns(chosen, asked.minutes * 60):
        found = fuzz(target, asked.folder, seconds)
        print(target.name, json.dumps(found), flush=True)  # noqa: T201
        if asked.record:
            add(target.name, found)
    failures = sorted(path.name for path in (asked.folder / "failures").glob("*") if not path.suffix)
    print(f"{len(failures)} failures kept in {asked.folder / 'failures'}:", *failures)  # noqa: T201


def turns(targets: list[Target], seconds: float) -> Iterator[tuple[Target, int]]:
    """Whose turn it is and for how long, until the time is over."""
    deadline = time.monotonic() + seconds
    turn = max(5, min(TURN_SECONDS, round(seconds / len(targets))))
    while True:
        for target in targets:
            if time.monotonic() > deadline - 1:
                return
            yield target, turn


def fuzz(target: Target, folder: Path, seconds: int) -> dict[str, Any]:
    """Fuzz one target; what was done, and how many inputs have ended the process."""
    corpus, words = folder / "corpus" / target.name, folder / f"{target.name}.dict"
    crashes = folder / "failures" / f"{target.name}-"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.parent.mkdir(exist_ok=True)
    if not any(corpus.iterdir()):
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
    command = [sys.executable, str(Path(__file__).with_name("fuzz_one.py")), target.name, str(folder), str(corpus)]
    command += [f"-dict={words}"] if target.words else []
    command += [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-rss_limit_mb=0"]
    command += [f"-timeout={HANGS_SECONDS}", f"-artifact_prefix={crashes}", "-print_final_stats=1", "-verbosity=1"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}"}
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, env=environment)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        print("\n".join(line for line in said.splitlines() if "INFO" not in line)[-3000:], flush=True)  # noqa: T201
    return {
        "inputs": _number(said, r"stat::number_of_executed_units:\s+(\d+)"),
        "seconds": round(time.monotonic() - began),
        "branches": _number(said, r".*\bcov: (\d+)"),
        "corpus": sum(1 for _ in corpus.iterdir()),
        "ended": int(done.returncode != 0),
    }


def add(name: str, found: dict[str, Any]) -> None:
    """Add what was done of a target to the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    before = record.get("targets", {}).get(name, {})
    summed = {key: before.get(key, 0) + found[key] for key in ("inputs", "seconds", "ended")}
    latest = {key: found[key] or before.get(key, 0) for key in ("branches", "corpus")}
    targets = {**record.get("targets", {}), name: {**summed, **latest}}
    totals = {key: sum(one[key] for one in targets.values()) for key in ("inputs", "seconds", "ended")}
    about = {
        "command": "nice -n 19 python tests/fuzzing/run_fuzz.py --minutes N --record",
        "atheris": version("atheris"),
        "last_day": datetime.date.today().isoformat(),
    }
    failures = record.get("failures", [])
    RECORD.write_text(json.dumps({**about, **totals, "targets": targets, "failures": failures}, indent=1) + "\n")


def _escaped(word: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in word.encode()
    )


def _number(said: str, pattern: str) -> int:
    found = re.findall(pattern, said)
    return int(found[-1]) if found else 0


if __name__ == "__main__":
    main()
