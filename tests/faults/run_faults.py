"""Try every fault on every verb and print what came of each: `python tests/faults/run_faults.py [--record]`.

With --record, that is kept: benchmarks/results/reliability.json and docs/reliability.md are written too. The tests try
the same trials, two at a time on two cores: `RECORD_FAULTS=1 make test-all` keeps theirs.
"""

import argparse
import datetime
import os
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from damages import DAMAGES
from fault_bench import Bench
from fault_kinds import FAULTS, KILLS, flipped_bit
from fault_table import FAULT_NAMES, FLIPS, Tried, entry, write
from forked_programs import ROOT, Programs
from given_files import make_given
from verb_table import VERBS, Verb

VERB_NAMES = [verb.name for verb in VERBS]
NUMS = {"disk full": 2, "two processes": 1, "clock jumps": 1, "changed inputs": 1, FLIPS: 2}
"""Trials of each fault on each verb, of each input, or of each kind of file; kills are the verb's own number."""


def trials(bench: Bench, seed: int, verb: Verb, fault: str, share: float = 1.0) -> Iterator[Tried]:
    """Trials of a fault on a verb; what is drawn follows from the seed and the names alone."""
    if fault == FLIPS:
        for damage in [damage for damage in DAMAGES if damage.verb == verb.name]:
            num, draw = max(1, round(share * NUMS[FLIPS])), random.Random(f"{seed} {damage}")
            yield from (Tried(verb.name, fault, trial) for trial in flipped_bit(bench, verb, damage, num, draw))
        return
    num = max(1, round(share * (verb.kills if fault == KILLS else NUMS[fault])))
    draw = random.Random(f"{seed} {verb.name} {fault}")
    yield from (Tried(verb.name, fault, trial) for trial in FAULTS[fault](bench, verb, num, draw))


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
    if asked.record and asked.share < 1:
        parser.error("--record is of all trials of a fault on a verb")
    with tempfile.TemporaryDirectory() as temporary, Programs({"TMPDIR": temporary}) as programs:
        folder = asked.given or Path(temporary) / "inputs"
        if not folder.exists():
            make_given(programs, folder)
        bench = Bench(programs, folder, Path(temporary) / "bench")
        for fault in asked.fault or FAULT_NAMES:
            for verb in [verb for verb in VERBS if verb.name in (asked.verb or VERB_NAMES)]:
                found = tried_entry(trials(bench, asked.seed, verb, fault, asked.share), asked.seed)
                if asked.record and found["counts"]:
                    write(fault, verb.name, found)


def tried_entry(made: Iterable[Tried], seed: int) -> dict[str, Any]:
    """What the record holds of one fault on one verb; each trial is printed as it ends."""
    began, tried = time.monotonic(), []
    for one in made:
        tried.append(one.trial)
        print(said(one), flush=True)  # noqa: T201
    about = {
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}",
    }
    return entry(tried, about)


if __name__ == "__main__":
    main()
