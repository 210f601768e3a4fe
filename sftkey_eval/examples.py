"""The examples of a report: every item once, every completion cut into regions for colouring."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sftkey_data.template import Malformed, Template
from sftkey_eval.paired import CHANGES, Comparison, changes
from sftkey_eval.runs import Run
from sftkey_eval.verdict import Verdict

CLASS_LABELS = {
    "correct": "correct",
    "format": "format",
    "slip": "slip",
    "wrong_cot": "wrong CoT",
    "no_answer": "no answer",
    "undecided": "undecided",
    "unscored": "unscored",
}

Segment = tuple[str, str]
"""A region (`cot`, `tag`, `key`, or `text` where the completion does not parse) and its text."""


def segments(template: Template, verdict: Verdict) -> list[Segment]:
    """A completion cut at its region borders; joined, the texts are the completion."""
    text = verdict.completion or ""
    try:
        spans = template.locate(text, verdict.finish_reason)
    except Malformed:
        return _marked(template, text)
    borders = (0, spans.cot_start, spans.cot_end, spans.key_start, spans.key_end, len(text))
    regions = ("tag", "cot", "tag", "key", "tag")
    cut = zip(regions, borders[:-1], borders[1:], strict=True)
    return [(region, text[start:end]) for region, start, end in cut if end > start]


def _marked(template: Template, text: str) -> list[Segment]:
    """A malformed completion with the template's marks shown wherever they stand."""
    parts = _marks(template).split(text)  # the marks are the odd parts: one capturing group
    return [("tag" if index % 2 else "text", part) for index, part in enumerate(parts) if part]


@cache
def _marks(template: Template) -> re.Pattern[str]:
    written = (template.before_cot, template.after_cot, template.before_key, template.after_key)
    marks = sorted({mark.strip() for mark in written if len(mark.strip()) > 1}, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, marks)) or '(?!)'})")


def single_examples(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Data of the browser with one completion per card; paired runs say what changed against the first."""
    changed = {
        (comparison.second.label, now.id): changes(before, now)
        for comparison in comparisons
        for before, now in comparison.pairs
    }
    cards = (
        ([(index, verdict)], changed.get((run.label, verdict.id), []))
        for index, run in enumerate(runs)
        for verdict in run.verdicts
    )
    return _browser(runs, cards)


def paired_examples(comparison: Comparison) -> dict[str, Any]:
    """Data of the browser with both completions of an item on one card, flipped items first."""
    cards = [([(0, before), (1, now)], changes(before, now)) for before, now in comparison.pairs]
    cards.sort(key=lambda card: list(CHANGES).index(card[1][0]))
    return _browser((comparison.first, comparison.second), cards)


def _browser(runs: Sequence[Run], cards: Iterable[tuple[list[tuple[int, Verdict]], list[str]]]) -> dict[str, Any]:
    templates = [run.template for run in runs]
    items: dict[tuple[object, ...], int] = {}
    entries = []
    for outcomes, changed in cards:
        first = outcomes[0][1]
        item = (first.id, first.prompt, first.gold, first.choices)
        index = items.setdefault(item, len(items))
        shown = [_outcome(run, verdict, templates[run]) for run, verdict in outcomes]
        entries.append({"item": index, "changes": changed, "outcomes": shown})
    return {
        "runs": [run.label for run in runs],
        "classes": CLASS_LABELS,
        "changes": CHANGES,
        "items": [dict(zip(("id", "prompt", "gold", "choices"), item, strict=True)) for item in items],
        "entries": entries,
    }


def _outcome(run: int, verdict: Verdict, template: Template) -> dict[str, Any]:
    return {
        "run": run,
        "class": verdict.error_class,
        "code": verdict.format_error,
        "predicted": verdict.predicted,
        "lenient": verdict.lenient_predicted,
        "source": verdict.lenient_source,
        "cot_value": verdict.cot_value,
        "verdict": verdict.verdict,
        "rule": verdict.rule,
        "finish": verdict.finish_reason,
        "lucky": verdict.lucky,
        "segments": segments(template, verdict),
    }


def script_json(value: object) -> str:
    """JSON that is safe inside a script element: pure ASCII, and nothing that could end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
