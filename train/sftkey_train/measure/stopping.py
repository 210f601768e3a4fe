"""What the held-out measurements of a stage decide: which of them is the best, and whether to stop early.

Both are functions of the rows alone, which a resumed run reads back, so it decides as an uninterrupted one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.recipe import EarlyStopping, Metric

# Kind of row, how to read the value, and +1 where more is better.
METRICS: Mapping[Metric, tuple[str, Callable[[MetricsRow], float], int]] = {
    "key_nll": ("heldout", lambda row: float(row["loss_by_region"]["key"]), -1),
    "forced_key_match": ("heldout", lambda row: float(row["forced_key_match"]), 1),
    "generated_key_match": ("generated", lambda row: float(row["key_exact_text"]), 1),
}


@dataclass
class Measurements:
    """The held-out and generated rows of one stage, in order; the one before the first step counts like the others."""

    rows: list[MetricsRow] = field(default_factory=list)

    def add(self, row: MetricsRow) -> None:
        """Count one more measurement."""
        self.rows.append(row)

    def holds(self, kind: str, step: int) -> bool:
        """Whether there is a row of this kind after this step."""
        return any(row["kind"] == kind and row["step"] == step for row in self.rows)

    def scores(self, metric: Metric) -> list[float]:
        """One number per measurement; more is better."""
        kind, read, sign = METRICS[metric]
        return [sign * read(row) for row in self.rows if row["kind"] == kind]

    def last_is_best(self, metric: Metric) -> bool:
        """Whether the latest row was measured by `metric` and is better than all before it."""
        scores = self.scores(metric)
        return bool(scores) and self.rows[-1]["kind"] == METRICS[metric][0] and all(s < scores[-1] for s in scores[:-1])

    def says_stop(self, stopping: EarlyStopping | None) -> bool:
        """Whether the last `patience` measurements brought nothing better than the best before them.

        Worked, patience 2 and key_nll 1.0, 0.8, 0.9, 0.8: the best is the second, two have followed it: stop.
        """
        if stopping is None or not (scores := self.scores(stopping.metric)):
            return False
        # `index` finds the first of equals: what is only as good does not start the waiting anew.
        return len(scores) - 1 - scores.index(max(scores)) >= stopping.patience
