"""Try every fault on every verb and print what came of each: `python tests/faults/run_faults.py [--record]`.

With --record, benchmarks/results/reliability.json and docs/reliability.md are written too.
"""

import argparse
import datetime
import os
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from damages import DAMAGES
from fault_bench import Bench
from fault_kinds import FAULTS, KILLS, flipped_bit
from fault_table import FLIPS, Tried, record, table, write
from forked_programs import ROOT, Programs
from given_files import make_given
from verb_table import VERBS

NUMS = {"disk full": 3, "two processes": 2, "clock jumps": 1, "changed inputs": 1, FLIPS: 3}
"""Trials of each fault on each verb, of each input, or of each kind of file; kills are the verb's own number."""


def trials(bench: Bench, seed: int, verb: str | None, fault: str | None, share: float = 1.0) -> Iterator[Tried]:
    """Trials of one verb or of all, of one fault or of all; the draws follow from the seed and the names alone."""
    verbs = {known.name: known for known in VERBS if verb in (None, known.name)}
    for name, try_it in FAULTS.items():
        for known in verbs.values() if fault in (None, name) else ():
            num = max(1, round(share * (known.kills if name == KILLS else NUMS[name])))
            for trial in try_it(bench, known, num, random.Random(f"{seed} {known.name} {name}")):
                yield Tried(known.name, name, trial)
    for damage in DAMAGES if fault in (None, FLIPS) else ():
        if damage.verb in verbs:
            num, draw = max(1, round(share * NUMS[FLIPS])), random.Random(f"{seed} {damage}")
            for trial in flipped_bit(bench, verbs[damage.verb], damage, num, draw):
                yield Tried(damage.verb, FLIPS, trial)


def said(tried: Tried) -> str:
    """A trial in a line."""
    trial = tried.trial
    what = f"{tried.verb}: {tried.fault}{f' ({trial.kind})' if trial.kind else ''}: {trial.how}: {trial.outcome}"
    return f"{what}: {' '.join(trial.failure.split())}" if trial.failure else what


def main() -> None:
    """Console script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--verb", choices=[verb.name for verb in VERBS], help="only this one")
    parser.add_argument("--fault", choices=[*FAULTS, FLIPS], help="only this one")
    parser.add_argument("--share", type=float, default=1.0, help="of the number of trials")
    parser.add_argument("--record", action="store_true", help="write the record and the page")
    parser.add_argument("--given", type=Path, help="folder of inputs made before, to be used again; made if not there")
    asked = parser.parse_args()
    began, tried = time.monotonic(), []
    with tempfile.TemporaryDirectory() as temporary, Programs({"TMPDIR": temporary}) as programs:
        folder = asked.given or Path(temporary) / "inputs"
        if not folder.exists():
            make_given(programs, folder)
        bench = Bench(programs, folder, Path(temporary) / "bench")
        for found in trials(bench, asked.seed, asked.verb, asked.fault, asked.share):
            tried.append(found)
            print(said(found), flush=True)  # noqa: T201
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    about = {
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": asked.seed,
        "minutes": round((time.monotonic() - began) / 60),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
    }
    found_all = record(tried, about)
    print(table(found_all))  # noqa: T201
    print(f"{found_all['kills']} kills, {len(found_all['failures'])} failures")  # noqa: T201
    if asked.record:
        write(found_all)


if __name__ == "__main__":
    main()
