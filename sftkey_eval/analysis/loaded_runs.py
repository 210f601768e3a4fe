"""The runs a report is about: verdicts and where they come from, under labels of their own."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from sftkey_data.errors import SFTKeyError
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import Template
from sftkey_eval.policy import Policy
from sftkey_eval.records.outcome_columns import RunOutcomes, outcome_columns
from sftkey_eval.records.verdict_reader import stream_verdicts
from sftkey_eval.records.verdicts import metric_names

VERDICTS_FILE = "verdicts.parquet"


@dataclass(frozen=True, slots=True)
class Run:
    """One scored run; its texts stay in the file.

    Args:
        label: Of its own; the runs of an arm are numbered.
        arm: The label it was given; runs with one label are the seeds of an arm.
        path: The verdicts file.
        verdicts: What it says of each completion, in the order of the file.
        provenance: What the scoring recorded about policy, template, source and model.
        cot_words: Of each completion, the words of its CoT; of one that does not parse, all its words.
        prompt_digests: Of each completion; equal where the prompts are.
    """

    label: str
    arm: str
    path: Path
    verdicts: RunOutcomes
    provenance: dict[str, Any]
    cot_words: Sequence[int]
    prompt_digests: Sequence[int]

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
    provenance, batches = stream_verdicts(path)
    template, metrics = Template(**provenance["template"]), metric_names(provenance)
    held: list[pa.RecordBatch] = []
    cot_words, prompt_digests = array("L"), array("Q")
    for batch in batches:
        held.append(outcome_columns(batch, metrics))
        texts = (batch.column(name).to_pylist() for name in ("completion", "finish_reason"))
        cot_words.extend(_cot_words(template, text or "", reason) for text, reason in zip(*texts, strict=True))
        prompts = batch.column("prompt").to_pylist()  # null in a file made elsewhere
        prompt_digests.extend(xxhash.xxh3_64_intdigest((prompt or "").encode()) for prompt in prompts)
    verdicts = RunOutcomes(held, metrics)
    _refuse_repeated(path, verdicts)
    record = provenance.get("run")
    name = record.get("name") if isinstance(record, dict) else None
    folder = path.resolve().parent.name if path.name == VERDICTS_FILE else path.stem
    label = label or str(name or folder)
    return Run(label, label, path, verdicts, provenance, cot_words, prompt_digests)


def _cot_words(template: Template, text: str, finish_reason: str | None) -> int:
    try:
        spans = template.locate(text, finish_reason)
    except Malformed:
        return len(text.split())
    return len(text[spans.cot_start : spans.cot_end].split())


def _refuse_repeated(path: Path, verdicts: RunOutcomes) -> None:
    if pc.count_distinct(verdicts.column("id"), mode="all").as_py() < len(verdicts):
        id_, count = max(verdicts.counts("id").items(), key=itemgetter(1))
        raise SFTKeyError(f"{path}: id {id_!r} occurs {count} times, expected once")


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
