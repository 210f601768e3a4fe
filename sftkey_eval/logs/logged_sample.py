"""What the readers of other programs' logs share: the line they give, how it is named, and what is counted."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LoggedLine = dict[str, Any]
"""A row of a completions file; what is None is not known."""


@dataclass(slots=True)
class ImportCount:
    """What went in and what came out.

    `records` of the logs became `completions`: an lm-eval item of k repeats becomes k of them, and one that was logged
    again for another filter none (`other_filters`). `missing` samples were planned in an Inspect log and are not in it.
    """

    files: int = 0
    records: int = 0
    completions: int = 0
    other_filters: int = 0
    without_output: int = 0
    several_targets: int = 0
    missing: int = 0
    rejects: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> str:
        """One line."""
        names = ("files", "records", "completions", "other_filters", "without_output", "several_targets", "missing")
        return json.dumps({**{name: getattr(self, name) for name in names}, "rejects": dict(self.rejects)})


def sample_id(item_id: str, sample: int, num_samples: int) -> str:
    """The id of one of several samples of an item; a lone one has the item's."""
    return item_id if num_samples == 1 else f"{item_id}#{sample}"
