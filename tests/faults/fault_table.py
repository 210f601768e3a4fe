"""What a run of the faults has found, as a record of counts and as the page docs/reliability.md."""

import fcntl
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_kinds import FAULTS, Trial
from forked_programs import ROOT
from verb_table import VERBS

RECORD = ROOT / "benchmarks" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
FLIPS = "flipped bits"
FAULT_NAMES = (*FAULTS, FLIPS)
OUTCOMES = ("same", "refused", "failed")
RUN = ("commit", "date", "seed", "machine")
"""What an entry says of the run that it is of."""
COMMAND = "python tests/faults/run_faults.py --record"


@dataclass(frozen=True)
class Tried:
    """A trial, and what it was made on."""

    verb: str
    fault: str
    trial: Trial


Record = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By fault and verb: counts, failures, and of which run."""


def entry(trials: Sequence[Trial], about: Mapping[str, Any]) -> dict[str, Any]:
    """Of one fault on one verb: counts by kind of file, and each failure with what repeats it."""
    groups = Counter((trial.kind, trial.outcome) for trial in trials)
    kinds = dict.fromkeys(trial.kind for trial in trials)
    counts = [{"kind": kind} | {outcome: groups[kind, outcome] for outcome in OUTCOMES} for kind in kinds]
    failures = [asdict(trial) for trial in trials if trial.outcome == "failed"]
    return {**about, "kills": sum(trial.kills for trial in trials), "counts": counts, "failures": failures}


def page(found: Record) -> str:
    """The documentation's page of a record."""
    text = Path(__file__).with_name("reliability_page.md").read_text(encoding="utf-8")
    sums = _sums(one for verbs in found.values() for one in verbs.values())
    facts = {
        "tried": str(sums.total()),
        "failed": str(sums["failed"] or "none"),
        "kills": str(sum(one["kills"] for verbs in found.values() for one in verbs.values())),
        "command": COMMAND,
        "runs": runs_table(found),
        "table": table(found),
        "damage": damage_table(found.get(FLIPS, {})),
        "failures": failure_lines(found),
    }
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text


def runs_table(found: Record) -> str:
    """By fault: when and on what it was tried, and how long that took."""
    rows = []
    for fault, verbs in found.items():
        runs = [", ".join(dict.fromkeys(str(one[fact]) for one in verbs.values())) for fact in RUN]
        seconds = [one["seconds"] for one in verbs.values()]
        rows.append([fault, *runs, "" if None in seconds else f"{sum(seconds) / 60:.0f}"])
    return _markdown(["fault", *RUN, "minutes"], rows)


def table(found: Record) -> str:
    """By verb and fault: how many were tried, survived, failed."""
    verbs = [verb.name for verb in VERBS]
    rows = [[verb, *(_cell([one[verb]] if verb in one else []) for one in found.values())] for verb in verbs]
    return _markdown(["verb", *found], [*rows, ["all", *(_cell(list(one.values())) for one in found.values())]])


def damage_table(flips: Mapping[str, Mapping[str, Any]]) -> str:
    """By kind of file and the verb that reads it: what came of a flipped bit."""
    counts = [(verb, count) for verb, one in flips.items() for count in one["counts"]]
    shown = ("refused", "same", "failed")
    rows = [[count["kind"], verb, *(str(count[outcome]) for outcome in shown)] for verb, count in counts]
    return _markdown(["file", "read by", "refused", "same result", "failed"], sorted(rows))


def failure_lines(found: Record) -> str:
    """Each failure in a line."""
    lines = [
        f"- {verb}, {fault}: {failure['how']}: {_plain(failure['failure'])}"
        for fault, verbs in found.items()
        for verb, one in verbs.items()
        for failure in one["failures"]
    ]
    return "\n".join(lines) or "Nothing."


def read() -> Record:
    """The record, in the order of the table."""
    found = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return {
        fault: {verb.name: found[fault][verb.name] for verb in VERBS if verb.name in found[fault]}
        for fault in FAULT_NAMES
        if fault in found
    }


def write(fault: str, verb: str, found: Mapping[str, Any]) -> None:
    """An entry in the place of an earlier one, and the page of all; several processes may write at a time."""
    with RECORD.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = {name: dict(verbs) for name, verbs in read().items()}
        record.setdefault(fault, {})[verb] = dict(found)
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(page(read()), encoding="utf-8")


def _sums(entries: Iterable[Mapping[str, Any]]) -> Counter[str]:
    sums = Counter[str]()
    for one in entries:
        for count in one["counts"]:
            sums.update({outcome: count[outcome] for outcome in OUTCOMES})
    return sums


def _cell(entries: Sequence[Mapping[str, Any]]) -> str:
    sums = _sums(entries)
    survived = sums["same"] + sums["refused"]
    return f"{sums.total()} / {survived} / {sums['failed']}" if sums.total() else ""


def _plain(text: str) -> str:
    return re.sub(r"[`|<>*_\[\]]", " ", " ".join(text.split()))[:200]


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
