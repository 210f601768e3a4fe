"""The examples of a report: every item once, every completion cut into regions for colouring."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import Template
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.paired_comparison import CHANGES, Comparison, changes
from sftkey_eval.records.verdicts import Verdict
from sftkey_eval.report.embed import Segment, abridge, segment_limit
from sftkey_eval.scoring.second_grader import disagreement

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


def segments(template: Template, verdict: Verdict) -> list[Segment]:
    """A completion cut at its region borders; joined, the texts are the completion."""
    text = verdict.completion or ""
    try:
        spans = template.locate(text, verdict.finish_reason)
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
    limit = segment_limit(sum(len(run.verdicts) for run in runs))
    items: dict[tuple[object, ...], int] = {}
    entries = []
    for outcomes, changed in cards:
        first = outcomes[0][1]
        item = (
            *(first.id, first.item_id, first.prompt, first.gold, first.choices),
            *(first.dataset, first.split, first.answer_type),
        )
        index = items.setdefault(item, len(items))
        shown = [_outcome(run, verdict, templates[run], limit) for run, verdict in outcomes]
        entries.append({"item": index, "changes": changed, "outcomes": shown})
    names = ("id", "item_id", "prompt", "gold", "choices", "dataset", "split", "type")
    return {
        "runs": [run.label for run in runs],
        "classes": CLASS_LABELS,
        "changes": CHANGES,
        "limit": limit,
        "items": [dict(zip(names, item, strict=True)) for item in items],
        "entries": entries,
    }


def _outcome(run: int, verdict: Verdict, template: Template, limit: int) -> dict[str, Any]:
    shown = {
        "run": run,
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
        "length": len(verdict.completion or ""),
        "segments": abridge(segments(template, verdict), limit),
    }
    if verdict.second_verdict:
        shown |= {
            "second": verdict.second_verdict,
            "second_rule": verdict.second_rule,
            "disagree": disagreement(verdict),
        }
    return shown
