"""Try every fault on every verb and print what came of each: `python tests/faults/run_faults.py [--record]`.

With --record, that is kept: benchmarks/results/reliability.json and docs/reliability.md are written too.
"""

import argparse
import datetime
import os
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from damages import DAMAGES
from fault_bench import Bench
from fault_kinds import FAULTS, KILLS, flipped_bit
from fault_table import FAULT_NAMES, FLIPS, Tried, record, table, write
from forked_programs import ROOT, Programs
from given_files import make_given
from verb_table import VERBS

VERB_NAMES = [verb.name for verb in VERBS]
NUMS = {"disk full": 3, "two processes": 2, "clock jumps": 1, "changed inputs": 1, FLIPS: 3}
"""Trials of each fault on each verb, of each input, or of each kind of file; kills are the verb's own number."""


def trials(
    bench: Bench,
    seed: int,
    verbs: Collection[str] = VERB_NAMES,
    faults: Collection[str] = FAULT_NAMES,
    share: float = 1.0,
) -> Iterator[Tried]:
    """Trials of some verbs and faults; what is drawn follows from the seed and the names alone."""
    by_name = {verb.name: verb for verb in VERBS if verb.name in verbs}
    for name in [name for name in FAULTS if name in faults]:
        for verb in by_name.values():
            num = max(1, round(share * (verb.kills if name == KILLS else NUMS[name])))
            for trial in FAULTS[name](bench, verb, num, random.Random(f"{seed} {verb.name} {name}")):
                yield Tried(verb.name, name, trial)
    for damage in [damage for damage in DAMAGES if damage.verb in by_name and FLIPS in faults]:
        num, draw = max(1, round(share * NUMS[FLIPS])), random.Random(f"{seed} {damage}")
        for trial in flipped_bit(bench, by_name[damage.verb], damage, num, draw):
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
    parser.add_argument("--verb", action="append", choices=VERB_NAMES, help="only this one; repeatable")
    parser.add_argument("--fault", action="append", choices=FAULT_NAMES, help="only this one; repeatable")
    parser.add_argument("--share", type=float, default=1.0, help="of the number of trials")
    parser.add_argument("--record", action="store_true", help="write the record and the page")
    parser.add_argument("--given", type=Path, help="folder of inputs made before, to be used again; made if not there")
    asked = parser.parse_args()
    if asked.record and (asked.verb or asked.share < 1):
        parser.error("--record is of all trials of a fault on all verbs")
    with tempfile.TemporaryDirectory() as temporary, Programs({"TMPDIR": temporary}) as programs:
        folder = asked.given or Path(temporary) / "inputs"
        if not folder.exists():
            make_given(programs, folder)
        bench = Bench(programs, folder, Path(temporary) / "bench")
        found = {}
        for fault in asked.fault or FAULT_NAMES:
            found[fault] = _recorded(bench, fault, asked)
            if asked.record:
                write({fault: found[fault]})
    print(table(found))  # noqa: T201


def _recorded(bench: Bench, fault: str, asked: argparse.Namespace) -> dict[str, Any]:
    began, tried = time.monotonic(), []
    for one in trials(bench, asked.seed, asked.verb or VERB_NAMES, [fault], asked.share):
        tried.append(one)
        print(said(one), flush=True)  # noqa: T201
    about = {
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": asked.seed,
        "minutes": round((time.monotonic() - began) / 60),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
    }
    return record(tried, about)


if __name__ == "__main__":
    main()
