"""Verdict rows: one scored completion each, and the parquet file that keeps them with their provenance.

pyarrow is imported where a file is opened: the worker processes of `sftkey-eval score` need the types of this module
alone.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sftkey_data.guards.row_digest import DIGEST_KEY, METADATA_KEY, add_rows
from sftkey_data.storage.appearing import appearing

if TYPE_CHECKING:
    import pyarrow as pa

ErrorClass = Literal["correct", "format", "slip", "wrong_cot", "no_answer", "undecided", "unscored"]
ERROR_CLASSES: tuple[ErrorClass, ...] = (
    "correct",
    "format",
    "slip",
    "wrong_cot",
    "no_answer",
    "undecided",
    "unscored",
)
"""Each verdict is in one. `undecided`: the grader could not tell; `unscored`: the gold is empty or unusable."""


UNPARSABLE = "unparsable"
"""In the place of a second grader's rule: it was asked, and its answer cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verdict says of a completion, without its text: what a report holds of every row.

    Args:
        id: Unique in the file.
        item_id: What the row is a sample of; the id where there is one sample per item.
        sample: Its number among the samples of the item, from 0.
        dataset: Empty where the completions file does not say.
        split: Empty where the completions file does not say.
        answer_type: The type the Key was graded as.
        gold: The trusted answer; None where the row has none.
        format_valid: The raw completion parses with the template.
        format_error: The malformed code, else None.
        format_tolerant: It parses but for text around the parts and loose spellings of the marks.
        format_present: Both parts are there at all. See `sftkey_data.format.marks.Level`.
        predicted: The Key of the strict parse, else None.
        verdict: `correct`, `wrong`, `undecided` or `unscored`, of the strict Key; a malformed completion is `wrong`.
        correct: The format is valid and the verdict is `correct`.
        rule: The rule that decided `verdict`.
        lenient_predicted: The best candidate, for a valid format the Key.
        lenient_verdict: Like `verdict`, of the candidate.
        lenient_correct: `lenient_verdict` is `correct`.
        lenient_source: Which link of the fallback chain gave the candidate.
        cot_value: The last value the CoT states, else None.
        error_class: Where the error comes from.
        lucky: Correct although the CoT ends elsewhere.
        choices: Option texts in the order A, B, C, …
        finish_reason: `stop`, `length` or unknown.
        second_verdict: `correct`, `wrong` or `undecided` by a second grader, of `lenient_predicted`; None where it
            was not asked, or gave no answer that can be read.
        second_rule: The rule of the second grader, or `UNPARSABLE`; None where it was not asked.
        metrics: What a user's own metrics say, in the order of the provenance; each a column of its name in the file.
    """

    id: str
    item_id: str
    sample: int
    dataset: str
    split: str
    answer_type: str
    gold: str | None
    format_valid: bool
    format_error: str | None
    format_tolerant: bool
    format_present: bool
    predicted: str | None
    verdict: str
    correct: bool
    rule: str
    lenient_predicted: str | None
    lenient_verdict: str
    lenient_correct: bool
    lenient_source: str | None
    cot_value: str | None
    error_class: ErrorClass
    lucky: bool
    choices: tuple[str, ...] | None
    finish_reason: str | None
    second_verdict: str | None = None
    second_rule: str | None = None
    metrics: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Outcome):
    """One scored completion: a row of `verdicts.parquet`.

    Args:
        prompt: Empty where the completions file does not say.
        completion: Raw text; None where the row has none.
    """

    prompt: str
    completion: str | None


def _columns() -> tuple[str, ...]:
    names = [field.name for field in fields(Outcome) if field.name != "metrics"]
    at = names.index("choices")  # the texts stand before it in the file
    return (*names[:at], "prompt", "completion", *names[at:])


VERDICT_COLUMNS = _columns()


def verdict_schema(metrics: Sequence[str] = ()) -> "pa.Schema":
    """Arrow schema of `verdicts.parquet` with these metrics, without the provenance."""
    import pyarrow as pa

    flags = {"format_valid", "format_tolerant", "format_present", "correct", "lenient_correct", "lucky"}
    types = {name: pa.bool_() if name in flags else pa.string() for name in VERDICT_COLUMNS} | {
        "sample": pa.int32(),
        "choices": pa.list_(pa.string()),
    }
    return pa.schema([*((name, types[name]) for name in VERDICT_COLUMNS), *((name, pa.float64()) for name in metrics)])


class VerdictWriter:
    """Appends batches of verdicts to an open parquet file."""

    def __init__(self, writer: Any, schema: "pa.Schema") -> None:
        self._writer = writer
        self._schema = schema
        self._digest = hashlib.sha256(schema.metadata[METADATA_KEY])

    def write(self, verdicts: Iterable[Verdict]) -> None:
        """Append rows."""
        import pyarrow as pa

        rows = list(verdicts)
        columns = {name: [_storable(getattr(verdict, name)) for verdict in rows] for name in VERDICT_COLUMNS}
        for at, name in enumerate(self._schema.names[len(VERDICT_COLUMNS) :]):
            columns[name] = [verdict.metrics[at] for verdict in rows]
        batch = pa.RecordBatch.from_pydict(columns, schema=self._schema)
        add_rows(self._digest, batch.to_pylist(), self._schema.names)
        self._writer.write_batch(batch)

    def seal(self) -> None:
        """Add the digest of all that was written; nothing may be written after it."""
        self._writer.add_key_value_metadata({DIGEST_KEY: self._digest.hexdigest().encode()})


@contextmanager
def open_verdicts(path: Path, provenance: Mapping[str, Any]) -> Iterator[VerdictWriter]:
    """Write a verdicts file that appears under its name only when it is complete.

    Args:
        path: Final path.
        provenance: JSON-able: policy, template, source, run; stored under the parquet metadata key `sftkey`. `metrics`
            names the columns that the verdicts have besides.
    """
    import pyarrow.parquet as pq

    schema = verdict_schema(metric_names(provenance)).with_metadata(
        {METADATA_KEY: json.dumps(provenance, sort_keys=True).encode()}
    )
    options = {"compression": "zstd", "write_page_checksum": True}
    with appearing(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        verdicts = VerdictWriter(writer, schema)
        yield verdicts
        verdicts.seal()


def metric_names(provenance: Mapping[str, Any]) -> list[str]:
    """The columns of a verdicts file that are a user's own metrics."""
    return [metric["name"] for metric in provenance.get("metrics") or ()]


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _encodable(value)
    return [_encodable(choice) for choice in value] if isinstance(value, tuple) else value


def _encodable(text: str) -> str:
    # JSON allows lone surrogates, UTF-8 (and so parquet) does not.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
