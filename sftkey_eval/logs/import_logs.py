"""Logs of lm-eval and Inspect in, one file of completions out; everything that is not a line of it is counted."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.guards.regular_file import parse_json
from sftkey_data.registry import Dataset, bind, load_dataset, parse_options
from sftkey_data.sources.row_bounds import MAX_ROW_BYTES
from sftkey_data.storage.appearing import appearing
from sftkey_data.storage.own_output import own_file, refuse_no_file
from sftkey_data.storage.sealed_json import sealed_line
from sftkey_eval.logs.inspect_logs import read_eval_log, read_json_log
from sftkey_eval.logs.lm_eval_logs import read_samples
from sftkey_eval.logs.logged_sample import ImportCount, LoggedLine

ALWAYS = ("completion", "gold")
"""Columns that every line has, as null where there is none: such a row stays in the denominator."""


def import_logs(paths: Sequence[Path], out: Path, *, dataset: str | None = None) -> ImportCount:
    """Write completions that `sftkey-eval score` reads.

    Args:
        paths: `samples_*.jsonl` of lm-eval, `.json` or `.eval` logs of Inspect, in any mixture.
        out: JSON lines; it appears when it is complete.
        dataset: Whose extractor reads golds from the rows that lm-eval logged; None takes the logged targets.

    Raises:
        SFTKeyError: No such file, one of another shape, no completions, or two of the same id.
    """
    golds = None if dataset is None else _with_defaults(load_dataset(dataset))
    count, ids = ImportCount(), dict[str, Path]()
    refuse_no_file(out, "completions")
    for path in paths:
        if not path.is_file():
            raise SFTKeyError(f"log not found: {path}")
        if out.exists() and out.samefile(path):
            raise SFTKeyError(f"{out}: the completions would replace a log, name another file")
    with own_file(out, "completions"), appearing(out) as file:
        for path in paths:
            count.files += 1
            for line in _read(path, count, golds):
                if line["id"] in ids:
                    raise SFTKeyError(f"{path}: id {line['id']!r} is already in {ids[line['id']]}; import them apart")
                ids[line["id"]] = path
                count.completions += 1
                known = {name: value for name, value in line.items() if value is not None or name in ALWAYS}
                file.write(sealed_line(known))
        if not ids:
            raise SFTKeyError(f"{', '.join(map(str, paths))}: no samples")
    return count


def _with_defaults(dataset: Dataset) -> Dataset:
    return bind(dataset, parse_options(dataset, {}))


def _read(path: Path, count: ImportCount, golds: Dataset | None) -> Iterator[LoggedLine]:
    zipped = zipfile.is_zipfile(path)
    whole = None if zipped else _whole(path)
    if not zipped and whole is None:
        yield from read_samples(path, count, golds)
        return
    if golds is not None:
        raise SFTKeyError(f"{path}: an Inspect log has no rows from which {golds.name} could read golds")
    yield from read_eval_log(path, count) if whole is None else read_json_log(path, whole, count)


def _whole(path: Path) -> dict[str, Any] | None:
    """The file's one JSON object where it is none of sample lines; a first line with `resps` decides."""
    size = path.stat().st_size
    with path.open("rb") as file, bounded_memory(str(path), size):
        first = file.readline(MAX_ROW_BYTES)
        try:
            row = parse_json(first)
        except ValueError:
            row = None  # an object over several lines, or no JSON
        if isinstance(row, dict) and "samples" not in row:
            return None
        file.seek(0)
        try:
            log = parse_json(file.read())
        except ValueError as error:
            fault = " ".join(str(error).split())
            raise SFTKeyError(f"{path}: neither lm-eval's samples nor a log of Inspect's: {fault}") from None
    if not isinstance(log, dict):
        raise SFTKeyError(f"{path}: neither lm-eval's samples nor a log of Inspect's: expected a JSON object")
    return log
