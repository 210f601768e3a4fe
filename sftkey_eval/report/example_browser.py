"""The examples of a report: every item once, every completion cut into regions for colouring."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import Template
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.paired_comparison import CHANGES, Comparison
from sftkey_eval.records.outcome_columns import in_file_order
from sftkey_eval.records.verdict_reader import read_texts
from sftkey_eval.records.verdicts import Outcome
from sftkey_eval.report.embed import Segment, abridge, segment_limit
from sftkey_eval.scoring.second_grader import disagreement

MOST_SHOWN = 20_000
"""Completions on a page: of more, a sample."""

CLASS_LABELS = {
    "correct": "correct",
    "format": "format",
    "slip": "slip",
    "wrong_cot": "wrong CoT",
    "no_answer": "no answer",
    "undecided": "undecided",
    "unscored": "unscored",
}

# Whatever is known of a completion or its item, as groups.js reads it.
_GROUP_COLUMNS = {
    "run": "run",
    "change": "change",
    "class": "class",
    "code": "format error",
    "verdict": "verdict",
    "rule": "rule that decided",
    "gold": "gold",
    "predicted": "predicted",
    "lenient": "lenient answer",
    "source": "lenient answer found by",
    "cot_value": "CoT ends at",
    "dataset": "dataset",
    "split": "split",
    "type": "answer type",
    "item": "item",
    "sample": "sample",
    "finish": "finish reason",
    "length": "length, characters",
    "lucky": "lucky",
    "tolerant": "format, read tolerantly",
    "present": "both parts present",
    "second": "second grader",
}


def group_columns(paired: bool, several_runs: bool) -> dict[str, str]:
    """Columns to group the examples by, with their titles; a page with one run has fewer."""
    left_out = {"run"} if paired else set() if several_runs else {"run", "change"}
    return {name: title for name, title in _GROUP_COLUMNS.items() if name not in left_out}


def segments(template: Template, text: str, finish_reason: str | None) -> list[Segment]:
    """A completion cut at its region borders; joined, the texts are the completion."""
    try:
        spans = template.locate(text, finish_reason)
    except Malformed:
        return _marked(template, text)
    between, after = text[spans.cot_end : spans.key_start], text[spans.key_end :]
    cut = [
        ("tag", text[: spans.cot_start]),
        ("cot", text[spans.cot_start : spans.cot_end]),
        *(_marked(template, between) if template.free_text else [("tag", between)]),
        ("key", text[spans.key_start : spans.key_end]),
        *(_closed(template, after) if template.free_text else [("tag", after)]),
    ]
    return [(region, part) for region, part in cut if part]


def _closed(template: Template, after: str) -> list[Segment]:
    """What follows the Key where more text may: the closing mark, and the text."""
    mark = template.after_key.strip()
    end = len(after) - len(after.lstrip()) + len(mark) if after.lstrip().startswith(mark) else 0
    return [("tag", after[:end]), ("text", after[end:])]


def _marked(template: Template, text: str) -> list[Segment]:
    """A malformed completion with the template's marks shown wherever they stand."""
    parts = _marks(template).split(text)  # the marks are the odd parts: one capturing group
    return [("tag" if index % 2 else "text", part) for index, part in enumerate(parts) if part]


@cache
def _marks(template: Template) -> re.Pattern[str]:
    written = (template.before_cot, template.after_cot, template.before_key, template.after_key)
    # The longest first, as the first alternative that fits is taken; one character would be found all over the text.
    marks = sorted({mark.strip() for mark in written if len(mark.strip()) > 1}, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, marks)) or '(?!)'})")  # without marks: what never matches


def single_examples(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Data of the browser with one completion per card; paired runs say what changed against the first.

    Of more than `MOST_SHOWN` completions there is a sample, as many of each error class as there is room for.
    """
    most = max(1, MOST_SHOWN // len(runs))
    shown = [_sample(run, _codes(run.verdicts.column("error_class")), most) for run in runs]
    compared = {comparison.second.label: comparison for comparison in comparisons}
    cards: list[Card] = []
    for index, (run, rows) in enumerate(zip(runs, shown, strict=True)):
        changed = _changes_of(compared[run.label], rows) if run.label in compared else [[] for _ in rows]
        cards += [([(index, row)], change) for row, change in zip(rows, changed, strict=True)]
    return _browser(runs, cards, num_all=sum(len(run.verdicts) for run in runs))


def paired_examples(comparison: Comparison) -> dict[str, Any]:
    """Data of the browser with both completions of an item on one card, flipped items first.

    Of more than half of `MOST_SHOWN` items there is a sample, as many of each change as there is room for.
    """
    first, second, changed = comparison.first, comparison.second, comparison.changes
    together = sum(mask * 2**at for at, mask in enumerate(changed.values()))  # a number for each set of changes
    rows = _sample(first, np.asarray(together), MOST_SHOWN // 2)
    cards: list[Card] = [
        ([(0, row), (1, int(comparison.second_rows[row]))], [name for name, mask in changed.items() if mask[row]])
        for row in rows
    ]
    cards.sort(key=lambda card: list(CHANGES).index(card[1][0]))
    return _browser((first, second), cards, num_all=2 * len(first.verdicts))


def _changes_of(comparison: Comparison, rows: Sequence[int]) -> list[list[str]]:
    """What became of the items at these rows of the second run."""
    first_rows = np.empty_like(comparison.second_rows)
    first_rows[comparison.second_rows] = np.arange(len(first_rows))
    changed = comparison.changes
    return [[name for name, mask in changed.items() if mask[first_rows[row]]] for row in rows]


def _codes(column: pa.Array) -> Int64s:
    """A number for each text of a column, (rows,)."""
    codes: Int64s = pc.dictionary_encode(column, null_encoding="encode").indices.to_numpy().astype(np.int64)
    return codes


def _sample(run: Run, groups: Int64s, most: int) -> list[int]:
    """Rows in order, at most so many, as many of each group as there is room for; by id, so alike in every run."""
    if len(groups) <= most:
        return list(range(len(groups)))
    digests = _digests(run.verdicts.column("id"))
    members = [np.flatnonzero(groups == group) for group in in_file_order(groups)]
    taken: list[int] = []
    for left, rows in zip(range(len(members), 0, -1), sorted(members, key=len), strict=True):
        by_id = rows[np.argsort(digests[rows], kind="stable")]
        taken += by_id[: (most - len(taken)) // left].tolist()
    return sorted(taken)


def _digests(ids: pa.Array) -> NDArray[np.uint64]:
    return np.fromiter((xxhash.xxh3_64_intdigest(id_.as_py().encode()) for id_ in ids), np.uint64, count=len(ids))


Card = tuple[list[tuple[int, int]], list[str]]
"""The outcomes on a card, each a run and a row of its verdicts, and what changed."""


def _browser(runs: Sequence[Run], cards: Sequence[Card], num_all: int) -> dict[str, Any]:
    outcomes = [outcome for shown, _ in cards for outcome in shown]
    limit = segment_limit(len(outcomes))
    made = {}
    for index, run in enumerate(runs):
        rows = sorted(row for of_run, row in outcomes if of_run == index)
        for (row, prompt, text), verdict in zip(read_texts(run.path, rows), run.verdicts.at(rows), strict=True):
            made[index, row] = (_item(verdict, prompt), _outcome(index, run, verdict, text or "", limit))
    items: dict[tuple[object, ...], int] = {}
    entries = []
    for shown, changed in cards:
        item, _ = made[shown[0]]
        index = items.setdefault(item, len(items))
        entries.append({"item": index, "changes": changed, "outcomes": [made[outcome][1] for outcome in shown]})
    return {
        "runs": [run.label for run in runs],
        "classes": CLASS_LABELS,
        "changes": CHANGES,
        "limit": limit,
        "items": [dict(zip(_ITEM, item, strict=True)) for item in items],
        "entries": entries,
        "num_left_out": num_all - len(outcomes),
    }


_ITEM = ("id", "item_id", "prompt", "gold", "choices", "dataset", "split", "type")


def _item(verdict: Outcome, prompt: str) -> tuple[object, ...]:
    about = (verdict.id, verdict.item_id, prompt, verdict.gold, verdict.choices)
    return (*about, verdict.dataset, verdict.split, verdict.answer_type)


def _outcome(index: int, run: Run, verdict: Outcome, text: str, limit: int) -> dict[str, Any]:
    shown = {
        "run": index,
        "class": verdict.error_class,
        "code": verdict.format_error,
        "predicted": verdict.predicted,
        "lenient": verdict.lenient_predicted,
        "lenient_verdict": verdict.lenient_verdict,
        "source": verdict.lenient_source,
        "cot_value": verdict.cot_value,
        "verdict": verdict.verdict,
        "rule": verdict.rule,
        "finish": verdict.finish_reason,
        "lucky": verdict.lucky,
        "tolerant": verdict.format_tolerant,
        "present": verdict.format_present,
        "sample": verdict.sample,
        "length": len(text),
        "segments": abridge(segments(run.template, text, verdict.finish_reason), limit),
    }
    if verdict.second_verdict:
        shown |= {
            "second": verdict.second_verdict,
            "second_rule": verdict.second_rule,
            "disagree": disagreement(verdict),
        }
    return shown
