"""The runs a report is about: verdicts and where they come from, under labels of their own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.template import Template
from sftkey_eval.verdict import Verdict, read_verdicts

VERDICTS_FILE = "verdicts.parquet"


@dataclass(frozen=True, slots=True)
class Run:
    """One scored run; `provenance` is what the scoring recorded about policy, template, source and model."""

    label: str
    path: Path
    verdicts: tuple[Verdict, ...]
    provenance: dict[str, Any]

    @property
    def template(self) -> Template:
        """The template the completions were read with."""
        return Template(**self.provenance["template"])

    @property
    def record(self) -> dict[str, Any]:
        """The `run.json` of the generation, or an empty mapping for completions made elsewhere."""
        record = self.provenance.get("run")
        return record if isinstance(record, dict) else {}


def load_runs(specs: Sequence[str]) -> list[Run]:
    """Load runs given as `PATH` or `LABEL=PATH`, a path being a run directory or a verdicts file.

    A run without a label takes the name in its `run.json`, else its folder's name.

    Raises:
        SFTKeyError: Nothing there, no verdicts, a repeated id, or two runs with one label.
    """
    runs = [_load(spec) for spec in specs]
    label, count = Counter(run.label for run in runs).most_common(1)[0]
    if count > 1:
        where = " and ".join(str(run.path) for run in runs if run.label == label)
        raise SFTKeyError(f"{count} runs are called {label!r} ({where}); name them apart: LABEL=PATH")
    return runs


def _load(spec: str) -> Run:
    label, path = _split(spec)
    verdicts, provenance = read_verdicts(path)
    id_, count = Counter(verdict.id for verdict in verdicts).most_common(1)[0]
    if count > 1:
        raise SFTKeyError(f"{path}: id {id_!r} occurs {count} times, expected once")
    record = provenance.get("run")
    name = record.get("name") if isinstance(record, dict) else None
    folder = path.resolve().parent.name if path.name == VERDICTS_FILE else path.stem
    return Run(label or str(name or folder), path, tuple(verdicts), provenance)


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
