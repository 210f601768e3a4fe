"""What is counted over the verdicts of one file, and how it is told."""

import json
from collections import Counter
from dataclasses import dataclass, field

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdicts import ERROR_CLASSES, Verdict
from sftkey_eval.scoring.second_grader import disagreement


@dataclass(slots=True)
class ScoreTally:
    """Running counts over verdicts; every rate is over all of them, the unscored included."""

    counts: Counter[str] = field(default_factory=Counter)
    format_errors: Counter[str] = field(default_factory=Counter)
    error_classes: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.counts["n"] += 1
        self.counts["format_valid"] += verdict.format_valid
        self.counts["format_tolerant"] += verdict.format_tolerant
        self.counts["format_present"] += verdict.format_present
        self.counts["correct"] += verdict.correct
        self.counts["lenient_correct"] += verdict.lenient_correct
        self.counts["undecided"] += verdict.verdict == "undecided"
        self.counts["unscored"] += verdict.verdict == "unscored"
        self.counts["second_asked"] += verdict.second_verdict is not None
        self.counts["disagreements"] += disagreement(verdict)
        self.error_classes[verdict.error_class] += 1
        if verdict.format_error is not None:
            self.format_errors[verdict.format_error] += 1

    def to_json(self) -> str:
        """One line: counts and rates.

        Raises:
            SFTKeyError: Nothing was counted.
        """
        n = self.counts["n"]
        if n == 0:
            raise SFTKeyError("no verdicts, so there is no rate")
        summary = {
            "n": n,
            "format_rate": self.counts["format_valid"] / n,
            "format_rate_tolerant": self.counts["format_tolerant"] / n,
            "format_rate_present": self.counts["format_present"] / n,
            "accuracy": self.counts["correct"] / n,
            "lenient_accuracy": self.counts["lenient_correct"] / n,
            "undecided": self.counts["undecided"],
            "unscored": self.counts["unscored"],
            "format_errors": dict(sorted(self.format_errors.items())),
            "error_classes": {name: self.error_classes[name] for name in ERROR_CLASSES},
        }
        if self.counts["second_asked"]:
            summary |= {name: self.counts[name] for name in ("second_asked", "disagreements")}
        return json.dumps(summary)
