"""What was written of an export, as its card tells it."""

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.prepared.labels import IGNORED


@dataclass(slots=True)
class Exported:
    """What an export wrote; tokens are zero for a folder without tokens, target tokens where there are no labels."""

    to: str
    split: str
    regions: tuple[str, ...]
    files: list[str] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0
    target_tokens: int = 0
    longest: int = 0

    def count(self, part: pa.Table) -> pa.Table:
        """The same part, counted."""
        self.rows += part.num_rows
        if "input_ids" in part.column_names:
            lengths = pc.list_value_length(part["input_ids"])
            self.tokens += pc.sum(lengths).as_py()
            self.longest = max(self.longest, pc.max(lengths).as_py())
        if "labels" in part.column_names:
            self.target_tokens += pc.sum(pc.not_equal(pc.list_flatten(part["labels"]), IGNORED)).as_py()
        return part
