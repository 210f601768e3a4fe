"""What a run of the faults has found, as a record of counts and as the page docs/reliability.md."""

import json
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
COMMAND = "python tests/faults/run_faults.py --record"


@dataclass(frozen=True)
class Tried:
    """A trial, and what it was made on."""

    verb: str
    fault: str
    trial: Trial


def record(tried: Sequence[Tried], about: Mapping[str, Any]) -> dict[str, Any]:
    """Counts by verb, fault and kind of file, and each failure with what repeats it."""
    groups = Counter((t.verb, t.fault, t.trial.kind, t.trial.outcome) for t in tried)
    places = list(dict.fromkeys((t.verb, t.fault, t.trial.kind) for t in tried))
    counts = [
        {"verb": verb, "fault": fault, "kind": kind}
        | {outcome: groups[verb, fault, kind, outcome] for outcome in ("same", "refused", "failed")}
        for verb, fault, kind in places
    ]
    failures = [{"verb": t.verb, "fault": t.fault, **asdict(t.trial)} for t in tried if t.trial.outcome == "failed"]
    kills = sum(t.trial.kills for t in tried)
    return {**about, "kills": kills, "counts": counts, "failures": failures}


def page(found: Mapping[str, Any]) -> str:
    """The documentation's page of a record."""
    text = (Path(__file__).with_name("reliability_page.md")).read_text(encoding="utf-8")
    sums = Counter[str]()
    for count in found["counts"]:
        sums.update({outcome: count[outcome] for outcome in ("same", "refused", "failed")})
    facts = {name: str(found[name]) for name in ("commit", "date", "seed", "minutes", "machine", "kills")}
    facts |= {"tried": str(sum(sums.values())), "failed": str(sums["failed"]), "command": COMMAND}
    facts |= {"table": table(found), "damage": damage_table(found), "failures": failure_lines(found)}
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text


def table(found: Mapping[str, Any]) -> str:
    """By verb and fault: how many were tried, survived, failed."""
    faults = [*FAULTS, FLIPS]
    verbs = dict.fromkeys(count["verb"] for count in found["counts"])
    rows = [[verb, *(_cell(_of(found, verb, fault)) for fault in faults)] for verb in verbs]
    rows.append(["all", *(_cell([c for c in found["counts"] if c["fault"] == fault]) for fault in faults)])
    return _markdown(["verb", *faults], rows)


def damage_table(found: Mapping[str, Any]) -> str:
    """By kind of file and the verb that reads it: what came of a flipped bit."""
    rows = [
        [count["kind"], count["verb"], *(str(count[outcome]) for outcome in ("refused", "same", "failed"))]
        for count in found["counts"]
        if count["fault"] == FLIPS
    ]
    return _markdown(["file", "read by", "refused", "same result", "failed"], rows)


def failure_lines(found: Mapping[str, Any]) -> str:
    """Each failure in a line."""
    lines = [f"- {f['verb']}, {f['fault']}: {f['how']}: {_first(f['failure'])}" for f in found["failures"]]
    return "\n".join(lines) or "None."


def _first(text: str) -> str:
    return " ".join(text.split())[:200].replace("`", "'").replace("|", "/").replace("<", "‹")


def _of(found: Mapping[str, Any], verb: str, fault: str) -> list[Mapping[str, Any]]:
    return [count for count in found["counts"] if count["verb"] == verb and count["fault"] == fault]


def _cell(counts: Iterable[Mapping[str, Any]]) -> str:
    survived = sum(count["same"] + count["refused"] for count in counts)
    failed = sum(count["failed"] for count in counts)
    return f"{survived + failed} / {survived} / {failed}" if survived + failed else ""


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(found: Mapping[str, Any]) -> None:
    """The record and the page of it."""
    RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
