"""What a run of the faults has found, as a record of counts and as the page docs/reliability.md."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_kinds import FAULTS, Trial
from forked_programs import ROOT

RECORD = ROOT / "benchmarks" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
FLIPS = "flipped bits"
FAULT_NAMES = (*FAULTS, FLIPS)
OUTCOMES = ("same", "refused", "failed")
RUN = ("commit", "date", "seed", "minutes", "machine")
"""What the record of a fault says of the run that it is of."""
COMMAND = "python tests/faults/run_faults.py --record"


@dataclass(frozen=True)
class Tried:
    """A trial, and what it was made on."""

    verb: str
    fault: str
    trial: Trial


def record(tried: Sequence[Tried], about: Mapping[str, Any]) -> dict[str, Any]:
    """Of trials of one fault: counts by verb and kind of file, and each failure with what repeats it."""
    groups = Counter((t.verb, t.trial.kind, t.trial.outcome) for t in tried)
    places = list(dict.fromkeys((t.verb, t.trial.kind) for t in tried))
    counts = [
        {"verb": verb, "kind": kind} | {outcome: groups[verb, kind, outcome] for outcome in OUTCOMES}
        for verb, kind in places
    ]
    failures = [{"verb": t.verb, **asdict(t.trial)} for t in tried if t.trial.outcome == "failed"]
    return {**about, "kills": sum(t.trial.kills for t in tried), "counts": counts, "failures": failures}


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The documentation's page of the records of all faults."""
    text = Path(__file__).with_name("reliability_page.md").read_text(encoding="utf-8")
    counts = [count for one in found.values() for count in one["counts"]]
    failed = sum(count["failed"] for count in counts)
    facts = {
        "tried": str(sum(count[outcome] for count in counts for outcome in OUTCOMES)),
        "failed": {0: "none"}.get(failed, str(failed)),
        "kills": str(sum(one["kills"] for one in found.values())),
        "command": COMMAND,
        "runs": _markdown(
            ["fault", *RUN], [[fault, *(str(one[fact]) for fact in RUN)] for fault, one in found.items()]
        ),
        "table": table(found),
        "damage": damage_table(found.get(FLIPS, {"counts": []})),
        "failures": failure_lines(found),
    }
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text


def runs_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """By fault: when and on what it was tried."""
    rows = [[fault, *(str(one[fact]) for fact in RUN)] for fault, one in found.items()]
    return _markdown(["fault", *RUN], rows)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """By verb and fault: how many were tried, survived, failed."""
    verbs = dict.fromkeys(count["verb"] for one in found.values() for count in one["counts"])
    rows = [[verb, *(_cell(c for c in one["counts"] if c["verb"] == verb) for one in found.values())] for verb in verbs]
    return _markdown(["verb", *found], [*rows, ["all", *(_cell(one["counts"]) for one in found.values())]])


def damage_table(flips: Mapping[str, Any]) -> str:
    """By kind of file and the verb that reads it: what came of a flipped bit."""
    shown = ("refused", "same", "failed")
    rows = [[count["kind"], count["verb"], *(str(count[outcome]) for outcome in shown)] for count in flips["counts"]]
    return _markdown(["file", "read by", "refused", "same result", "failed"], rows)


def failure_lines(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Each failure in a line."""
    failures = [(fault, failure) for fault, one in found.items() for failure in one["failures"]]
    return (
        "\n".join(f"- {f['verb']}, {fault}: {f['how']}: {_plain(f['failure'])}" for fault, f in failures) or "Nothing."
    )


def read() -> dict[str, dict[str, Any]]:
    """The records of all faults, in the order of the table."""
    found = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return {fault: found[fault] for fault in FAULT_NAMES if fault in found}


def write(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Records in the place of those faults' earlier ones, and the page of all."""
    RECORD.write_text(json.dumps(read() | dict(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(read()), encoding="utf-8")


def _plain(text: str) -> str:
    return re.sub(r"[`|<>*_\[\]]", " ", " ".join(text.split()))[:200]


def _cell(counts: Iterable[Mapping[str, Any]]) -> str:
    sums = Counter[str]()
    for count in counts:
        sums.update({outcome: count[outcome] for outcome in OUTCOMES})
    survived = sums["same"] + sums["refused"]
    return f"{sums.total()} / {survived} / {sums['failed']}" if sums.total() else ""


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
