"""lm-eval's `samples_*.jsonl` as completions: the raw `resps`, never `filtered_resps`, which a filter has cut."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.parts import Reject
from sftkey_data.registry import Dataset
from sftkey_eval.logs.known_logs import LM_EVAL_COLUMNS
from sftkey_eval.logs.logged_sample import ImportCount, LoggedLine, sample_id
from sftkey_eval.records.row_files import read_row_file

OURS = ("id", "dataset", "split", "gold", "answer_type", "choices", "template")
"""The columns by which a logged item is known to come from a task of ours."""

# The task in samples_gsm8k_2025-01-31T12-00-00.123456.jsonl; the time need not be there.
_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?")


def read_samples(path: Path, count: ImportCount, golds: Dataset | None) -> Iterator[LoggedLine]:
    """One line per generated text; an item that was logged once per filter is read once.

    Args:
        path: A file of lm-eval.
        count: What is counted on the way.
        golds: The dataset whose extractor reads golds from the logged rows; None takes lm-eval's target.

    Raises:
        SFTKeyError: A line of another shape, an item twice, or a task that generates no text.
    """
    name = _NAME.fullmatch(path.stem)
    task = name[1] if name else path.stem
    seen: dict[str, tuple[Any, Any]] = {}
    for where, row in read_row_file(path, "samples", numbers_as_text=False):
        count.records += 1
        texts = _texts(row, where)
        key = json.dumps(row["doc_id"])
        if key not in seen:
            seen[key] = (row.get("filter"), texts)
            yield from _lines(row, task, texts, count, golds, where)
        elif seen[key][0] == row.get("filter") or seen[key][1] != texts:
            raise SFTKeyError(f"{where}: doc_id {key} is there before, expected each once per filter")
        else:
            count.other_filters += 1


def _texts(row: Mapping[str, Any], where: str) -> list[str]:
    for column in LM_EVAL_COLUMNS:
        if column not in row:
            found = ", ".join(row)
            raise SFTKeyError(f"{where}: no {column!r}{nearest(column, list(row))} as lm-eval logs it, found: {found}")
    resps = row["resps"]
    one = resps[0] if isinstance(resps, list) and len(resps) == 1 else None
    if not isinstance(one, list) or not one or not all(isinstance(text, str) for text in one):
        raise SFTKeyError(f"{where}: 'resps' must hold the texts of one request; does the task generate text?")
    return one


def _lines(
    row: Mapping[str, Any], task: str, texts: list[str], count: ImportCount, golds: Dataset | None, where: str
) -> Iterator[LoggedLine]:
    item = _item(row, task, golds, count, where)
    prompt = _prompt(row["arguments"], where)
    for sample, text in enumerate(texts):
        yield {
            "id": sample_id(item["item_id"], sample, len(texts)),
            "sample": sample,
            **item,
            "prompt": prompt,
            "completion": text,
        }


def _item(row: Mapping[str, Any], task: str, golds: Dataset | None, count: ImportCount, where: str) -> LoggedLine:
    """What is known of the item: from our own task's columns, from an extractor, or from lm-eval's target."""
    doc = row["doc"]
    if isinstance(doc, dict) and all(column in doc for column in OURS):
        return {"item_id": doc["id"], **{column: doc[column] for column in OURS[1:-1]}}
    known = {"item_id": f"{task}/{row['doc_id']}", "dataset": task}
    if golds is None:
        targets = _targets(row["target"])
        count.several_targets += len(targets) > 1
        return known | {"gold": targets[0], "targets": targets if len(targets) > 1 else None}
    if not isinstance(doc, dict):
        raise SFTKeyError(f"{where}: 'doc' is no row, so {golds.name} cannot read golds from it")
    try:
        if missing := [column for column in golds.columns if column not in doc]:
            raise SFTKeyError(f"{where}: no column {missing[0]!r} of {golds.name} in 'doc'{nearest(missing[0], doc)}")
        parts = golds.extract(doc)
    except Reject as reject:
        count.rejects[reject.reason] += 1
        return known | {"gold": None}
    choices = None if parts.choices is None else list(parts.choices)
    return known | {"gold": parts.key.strip(), "answer_type": parts.answer_type, "choices": choices}


def _targets(target: Any) -> list[Any]:
    """The target, or the several ones whose list lm-eval has turned into text, as in `['2', 'two']`."""
    if isinstance(target, str) and target.startswith(("['", '["')):
        try:
            several = ast.literal_eval(target)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [target]
        return several if isinstance(several, list) and several else [target]
    return [target]


def _prompt(arguments: Any, where: str) -> str:
    """The text that the model was given: the first argument of the one request."""
    match arguments:
        case {"gen_args_0": {"arg_0": str(prompt)}} | [[str(prompt), *_], *_]:  # a list before lm-eval 0.4.4
            return prompt
    raise SFTKeyError(f"{where}: 'arguments' must hold one request with its prompt, found none")
