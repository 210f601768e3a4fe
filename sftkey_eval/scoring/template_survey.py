"""Which built-in templates would read completions that the one in use mostly does not."""

from collections.abc import Iterable
from itertools import islice

from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template
from sftkey_eval.records.completion_rows import Completion

LOOKED_AT = 200  # completions: enough to tell templates apart, few enough to cost nothing beside the scoring


def readable_by(completions: Iterable[Completion], used: Template) -> dict[str, int]:
    """How many of the first completions each template reads strictly.

    Args:
        completions: Those that were scored; `LOOKED_AT` of them are read.
        used: The template they were scored with; it comes first.

    Returns:
        Template name to count, the used one and those built in that read more than it, most first.
    """
    looked_at = [(row.completion or "", row.finish_reason) for row in islice(completions, LOOKED_AT)]
    counts = {
        template.name: sum(_reads(template, text, reason) for text, reason in looked_at)
        for template in (used, *BUILTIN.values())
    }
    better = sorted((name for name in counts if counts[name] > counts[used.name]), key=lambda name: -counts[name])
    return {name: counts[name] for name in (used.name, *better)}


def _reads(template: Template, text: str, finish_reason: str | None) -> bool:
    try:
        template.locate(text, finish_reason)
    except Malformed:
        return False
    return True
