"""Adds what a study has finished to its committed record, which other machines have written to before.

    python benchmarks/study_record.py runs/study-pretrained/study.json benchmarks/results/study/pretrained.json.gz

A run of the record stays as it is. One that both have is expected to have the same settings; where they differ nothing
is written. The same runs give the same bytes. `sftkey-train study --report` reads the record as it reads a study.json.
"""

import argparse
import gzip
from pathlib import Path
from typing import Any

from sftkey_data.storage.appearing import write_bytes
from sftkey_data.storage.sealed_json import read_sealed, sealed_line

Identity = tuple[str, int, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("record", type=Path)
    options = parser.parse_args()
    new = read_sealed(options.study, "`sftkey-train study` writes it anew from its runs")
    there = gzip.decompress(options.record.read_bytes()) if options.record.exists() else b'{"runs": []}'
    old = read_sealed(options.record, "take the committed one", there)
    merged = merge(new, old)
    write_bytes(options.record, gzip.compress(sealed_line(merged), mtime=0))
    print(f"{options.record}: {len(old['runs'])} runs before, {len(merged['runs'])} of {merged['num_runs']} now")


def merge(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """The study as the new record has it, with the runs of both in its order.

    Raises:
        SystemExit: A run has other settings in one than in the other.
    """
    runs = {identity(run): run for run in new["runs"]}
    for run in old["runs"]:
        if runs.get(identity(run), run)["key"] != run["key"]:
            raise SystemExit(f"error: {identity(run)} has other settings in the record: expected {run['key']}")
        runs[identity(run)] = run
    study = new["study"]
    seeds = [*study["seeds"]["claim"], *study["seeds"]["tuning"]]
    arms = ["stage1", *study["arms"]]
    order = sorted(runs, key=lambda it: (list(study["datasets"]).index(it[0]), seeds.index(it[1]), arms.index(it[2])))
    return {**new, "num_finished": len(runs), "runs": [runs[it] for it in order]}


def identity(run: dict[str, Any]) -> Identity:
    return run["dataset"], run["seed"], run["arm"]


if __name__ == "__main__":
    main()
