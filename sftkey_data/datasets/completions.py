"""A model's own completions with their verdicts: the CoT that it wrote, in front of the gold Key.

Schema: the `verdicts.parquet` that `sftkey-eval run` and `score` write, named with `--set verdicts=FILE`; it holds the
prompts, the completions, the golds and what the completions were found to be. Each prompt stands in the new folder byte
for byte as the model saw it, so build with the tokenizer, `--chat` and `--chat-arg` of the folder that it answered.

`keep` says which completions stay: `correct`; `slips`, whose CoT reaches the gold and whose Key does not;
`correct+slips`; or `all`, also those whose CoT contradicts the gold Key. Of equal CoTs of an item the first is kept,
and of its CoTs at most `per_item`. The CoT is read with the template that the completions were scored with, which is
also the default of `--template`; one that is not built in is named with `--set template=FILE.toml`. Verdicts on other
completions than those that lie beside them are refused, and so are rows of another split than `--split` says (default:
train), as a test set is not to be trained on by mistake.
Rejected by design: `not_kept`, `same_cot`, `enough_of_item`, and what the template cannot read, under its own code:
`empty`, `truncated`, `wrong_order`, `missing_cot`, `empty_cot`, `unclosed_cot`, `repeated_cot`, `missing_key`,
`empty_key`, `unclosed_key`, `repeated_key`, `text_before_cot`, `text_before_key`, `text_after_key`.
Source: your own runs. Licence: that of the data and of the model's output.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.parts import ANSWER_TYPES
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template, load_template
from sftkey_data.guards.memory_bound import bounded_memory, bounded_steps
from sftkey_data.guards.regular_file import parse_json, regular
from sftkey_data.guards.row_digest import CHANGED, DIGEST_KEY, METADATA_KEY, add_rows

COLUMNS = ()  # they are checked when the file is opened
READ_COLUMNS = (
    *("id", "item_id", "sample", "split", "prompt", "completion", "gold"),
    *("answer_type", "choices", "finish_reason", "error_class"),
)
OTHER_TYPES = {"sample": pa.int32(), "choices": pa.list_(pa.string())}
"""Of the columns that are no text."""
EXPECTED_REJECTS = (
    *("not_kept", "same_cot", "enough_of_item"),
    *("empty", "truncated", "wrong_order", "missing_cot", "empty_cot", "unclosed_cot", "repeated_cot"),
    *("missing_key", "empty_key", "unclosed_key", "repeated_key"),
    *("text_before_cot", "text_before_key", "text_after_key"),
)
AUTO = "auto"
CLASS_OF = {"correct": "correct", "slips": "slip"}
ROWS = 4_096  # read at a time


class Options(BaseModel):
    """Which completions become examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdicts: str = Field("", description="verdicts.parquet of sftkey-eval")
    keep: str = Field("correct", description="correct, slips, correct+slips or all")
    per_item: int = Field(0, ge=0, description="distinct CoTs of an item at most; 0: all")
    template: str = Field(AUTO, description="file of the template they are written in, where it is not built in")

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: str) -> str:
        for name in keep.split("+"):
            if keep != "all" and name not in CLASS_OF:
                hint = nearest(name, [*CLASS_OF, "all"])
                raise ValueError(f"expected correct, slips, correct+slips or all, found {keep!r}{hint}")
        return keep

    @cached_property
    def classes(self) -> frozenset[str] | None:
        """The error classes that stay; None: all."""
        return None if self.keep == "all" else frozenset(CLASS_OF[name] for name in self.keep.split("+"))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What the verdicts say of themselves."""
        if not self.verdicts:
            raise SFTKeyError("completions: name the verdicts with --set verdicts=runs/NAME/verdicts.parquet")
        with _opened(self.verdicts) as file:
            schema = file.schema_arrow
        for column in READ_COLUMNS:
            if column not in schema.names:
                raise SFTKeyError(f"{self.verdicts}: column {column!r} is missing{nearest(column, schema.names)}")
            expected = OTHER_TYPES.get(column, pa.string())
            if (kind := schema.field(column).type) != expected:
                raise SFTKeyError(f"{self.verdicts}: column {column!r} is of {kind}, expected {expected}")
        try:
            found = parse_json((schema.metadata or {}).get(METADATA_KEY, b"{}"))
        except ValueError as error:
            raise SFTKeyError(f"{self.verdicts}: {CHANGED}: its provenance is no JSON: {error}") from None
        kinds = {"template": dict, "source": str, "sha256": str}
        if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in kinds.items()):
            raise SFTKeyError(f"{self.verdicts}: no provenance in it: write the file with `sftkey-eval score`")
        return found

    @cached_property
    def reader(self) -> tuple[str, Template]:
        """The template that reads the completions, and the name under which a build finds it."""
        written = validate(self.provenance["template"], Template, where=f"{self.verdicts}: template")
        if self.template == AUTO:
            if BUILTIN.get(written.name) != written:
                raise SFTKeyError(
                    f"{self.verdicts}: written in template {written.name!r}, which is not built in: "
                    "name its file with --set template=FILE.toml"
                )
            return written.name, written
        named = load_template(self.template)
        if replace(named, name=written.name) != written:
            raise SFTKeyError(f"{self.verdicts}: scored with template {written.name!r}, {self.template} is another")
        return self.template, named

    def files(self) -> tuple[Path, ...]:
        """The verdicts, and the template's file where one is named."""
        own = () if self.template in (AUTO, *BUILTIN) else (Path(self.template),)
        return (Path(self.verdicts), *own)

    def output_template(self) -> str:
        """That of the completions."""
        return self.reader[0]


def settle(options: Options, _: Sequence[Row]) -> tuple[Options, str]:
    """The options with the template's name, after checking that the verdicts are as they were written, and of the
    completions beside them.

    Raises:
        SFTKeyError: They are not; the file is missing or no verdicts file; its template is not known.
    """
    source = options.provenance["source"]
    _refuse_changed(options.verdicts)
    name, template = options.reader
    completions = Path(options.verdicts).parent / Path(source).name
    if completions.is_file() and completions.resolve() != Path(options.verdicts).resolve():
        with completions.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != (scored := options.provenance["sha256"]):
            raise SFTKeyError(
                f"{options.verdicts}: verdicts on other completions than {completions}, which has the SHA-256 "
                f"{found[:12]}…, expected {scored[:12]}…: score it again"
            )
    return options.model_copy(update={"template": name}), f"template of the completions: {template.name}"


def generate(options: Options, split: str) -> Iterator[Row]:
    """Every row of the verdicts, with its CoT, or with the reason why it is left out.

    Raises:
        SFTKeyError: As `settle`, and for a row of another split.
    """
    template, taken = options.reader[1], dict[str, set[str]]()
    for row in _rows(options.verdicts):
        if row["split"] not in ("", split):
            raise SFTKeyError(
                f"{options.verdicts}: {row['id']!r} is of split {row['split']!r}, expected {split!r}; "
                f"--split {row['split']} takes it, if that is what you want to train on"
            )
        try:
            yield row | {"cot": _chosen(row, template, options, taken), "left_out": None}
        except Reject as reject:
            yield row | {"cot": None, "left_out": [reject.reason, reject.detail]}


def extract(row: Row) -> Parts:
    """The parts of a row that `generate` gave."""
    if row.get("left_out"):
        raise Reject(*row["left_out"])
    choices, answer_type = row.get("choices"), row.get("answer_type")
    return Parts(
        prompt=text(row, "prompt"),
        cot=text(row, "cot"),
        key=text(row, "gold"),
        answer_type=answer_type if answer_type in ANSWER_TYPES else "text",
        choices=tuple(choices) if choices is not None else None,
        rendered=True,
    )


def _chosen(row: dict[str, Any], template: Template, options: Options, taken: dict[str, set[str]]) -> str:
    """The CoT of a row that becomes an example, and is then among those taken; a `Reject` for any other."""
    if options.classes is not None and row["error_class"] not in options.classes:
        raise Reject("not_kept", f"error class {row['error_class']}, kept are {options.keep}")
    try:
        cot, _ = template.parse(row["completion"] or "", row["finish_reason"])
    except Malformed as malformed:
        raise Reject(malformed.code, f"template {template.name!r} cannot read the completion") from None
    cots = taken.setdefault(row["item_id"], set())
    if cot in cots:
        raise Reject("same_cot", f"another sample of item {row['item_id']!r} has the same CoT")
    if options.per_item and len(cots) >= options.per_item:
        raise Reject("enough_of_item", f"{options.per_item} of item {row['item_id']!r} are kept already")
    cots.add(cot)
    return cot


def _refuse_changed(path: str) -> None:
    """Refuse verdicts whose digest differs; those of a version before have none."""
    with _opened(path) as file:
        recorded = file.metadata.metadata.get(DIGEST_KEY)
        total, columns = hashlib.sha256(file.schema_arrow.metadata[METADATA_KEY]), file.schema_arrow.names
    add_rows(total, _rows(path, None), columns)
    if recorded not in (None, total.hexdigest().encode()):
        raise SFTKeyError(f"{path}: {CHANGED}: the digest in it differs")


def _rows(path: str, columns: Sequence[str] | None = READ_COLUMNS) -> Iterator[dict[str, Any]]:
    """The rows of a file; no columns: all, as they lie in it."""
    with _opened(path) as file:
        try:
            batches = file.iter_batches(ROWS, columns=None if columns is None else list(columns))
            for rows in bounded_steps((batch.to_pylist() for batch in batches), path, Path(path).stat().st_size):
                yield from rows
        except (pa.ArrowException, OSError, ValueError) as error:  # of a page whose checksum differs, or of no text
            raise SFTKeyError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _opened(path: str) -> pq.ParquetFile:
    try:
        with bounded_memory(path, Path(path).stat().st_size):
            return pq.ParquetFile(regular(Path(path)), page_checksum_verification=True)
    except FileNotFoundError:
        raise SFTKeyError(f"verdicts file not found: {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # of a name that is no text
        raise SFTKeyError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
