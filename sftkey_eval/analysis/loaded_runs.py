"""The runs a report is about: verdicts and where they come from, under labels of their own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.template import Template
from sftkey_eval.policy import Policy
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.records.verdicts import Verdict

VERDICTS_FILE = "verdicts.parquet"


@dataclass(frozen=True, slots=True)
class Run:
    """One scored run; `provenance` is what the scoring recorded about policy, template, source and model.

    `arm` is the label it was given; runs with one label are the seeds of an arm, and `label` numbers them.
    """

    label: str
    arm: str
    path: Path
    verdicts: tuple[Verdict, ...]
    provenance: dict[str, Any]

    @property
    def template(self) -> Template:
        """The template the completions were read with."""
        return Template(**self.provenance["template"])

    @property
    def policy(self) -> Policy:
        """What counted as equal."""
        return Policy(**self.provenance["policy"])

    @property
    def record(self) -> dict[str, Any]:
        """The `run.json` of the generation, or an empty mapping for completions made elsewhere."""
        record = self.provenance.get("run")
        return record if isinstance(record, dict) else {}


def load_runs(specs: Sequence[str]) -> list[Run]:
    """Load runs given as `PATH` or `LABEL=PATH`, a path being a run directory or a verdicts file.

    A run without a label takes the name in its `run.json`, else its folder's name. A label given several times is an
    arm with several seeds.

    Raises:
        SFTKeyError: Nothing there, no verdicts, a repeated id, or two runs that have one name without being given it.
    """
    given = {label for label, _ in map(_split, specs) if label}
    runs = [_load(spec) for spec in specs]
    counts = Counter(run.label for run in runs)
    for label in (label for label, count in counts.items() if count > 1):
        paths = [run.path for run in runs if run.label == label]
        where = " and ".join(map(str, paths))
        if label not in given:
            raise SFTKeyError(f"{len(paths)} runs are called {label!r} ({where}); name them apart: LABEL=PATH")
        if len({path.resolve() for path in paths}) < len(paths):
            raise SFTKeyError(f"{label!r} has one run several times ({where}); expected one run for each seed")
    return _numbered(runs, counts)


def _numbered(runs: Sequence[Run], counts: Mapping[str, int]) -> list[Run]:
    seen: Counter[str] = Counter()
    numbered = []
    for run in runs:
        seen[run.arm] += 1
        label = f"{run.arm} ({seen[run.arm]})" if counts[run.arm] > 1 else run.label
        numbered.append(replace(run, label=label))
    return numbered


def _load(spec: str) -> Run:
    label, path = _split(spec)
    verdicts, provenance = read_verdicts(path)
    id_, count = Counter(verdict.id for verdict in verdicts).most_common(1)[0]
    if count > 1:
        raise SFTKeyError(f"{path}: id {id_!r} occurs {count} times, expected once")
    record = provenance.get("run")
    name = record.get("name") if isinstance(record, dict) else None
    folder = path.resolve().parent.name if path.name == VERDICTS_FILE else path.stem
    label = label or str(name or folder)
    return Run(label, label, path, tuple(verdicts), provenance)


def _split(spec: str) -> tuple[str, Path]:
    """Label (or empty) and the verdicts file; a path that exists is a path even where it holds a `=`."""
    label, equals, rest = spec.partition("=")
    if not equals or Path(spec).exists():
        label, rest = "", spec
    path = Path(rest)
    if path.is_dir():
        path = path / VERDICTS_FILE
        if not path.is_file():
            raise SFTKeyError(f"{rest}: the folder holds no {VERDICTS_FILE}; write one with `sftkey-eval score`")
    elif not path.is_file():
        raise SFTKeyError(f"run not found: {rest}, expected a run directory or a verdicts file")
    return label, path
