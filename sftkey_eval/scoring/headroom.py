"""The headroom of a run: how many of its errors a stage 2 on the answer can mend directly."""

from collections.abc import Mapping
from dataclasses import dataclass

MENDABLE = ("format", "slip")
"""The answer was there, or the CoT had reached it: what is missing lies behind the CoT."""

UNTOLD = ("undecided", "no_answer")
"""What the grader could not tell, or found no answer in; some of these may be slips."""


@dataclass(frozen=True, slots=True)
class MendableErrors:
    """Counts over the items of a run: how many there are, of these the errors, and what is known of them."""

    n: int
    errors: int
    mendable: int
    untold: int

    @classmethod
    def of(cls, error_classes: Mapping[str, int]) -> "MendableErrors":
        """Of the number of items in each error class; a class that is not named has none."""
        n = sum(error_classes.values())
        mendable, untold = (sum(error_classes.get(name, 0) for name in names) for names in (MENDABLE, UNTOLD))
        return cls(n, n - error_classes.get("correct", 0), mendable, untold)

    def line(self) -> str:
        """One line for the terminal; of at least one item."""
        if not self.errors:
            return f"headroom: none, all {self.n:,} items are correct{_SEE}"
        of_errors = f"headroom: of {_percent(self.errors, self.n)} % errors {_percent(self.mendable, self.errors)} %"
        points = "nothing" if not self.mendable else f"at most {_percent(self.mendable, self.n)} points"
        untold = f" ({_percent(self.untold, self.n)} more are undecided or without an answer)" if self.untold else ""
        return f"{of_errors} are slips or format: a stage 2 on the answer can mend {points}{untold}{_SEE}"


_SEE = "; see docs/choosing.md"


def _percent(k: int, n: int) -> str:
    return f"{100 * k / n:.1f}"
