"""What is counted over the verdicts of one file, and how it is told."""

import json
from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdicts import ERROR_CLASSES, UNPARSABLE, Verdict
from sftkey_eval.scoring.headroom import MendableErrors
from sftkey_eval.scoring.second_grader import disagreement
from sftkey_eval.scoring.template_survey import LOOKED_AT


@dataclass(slots=True)
class ScoreTally:
    """Running counts over verdicts; every rate is over all of them, the unscored included."""

    counts: Counter[str] = field(default_factory=Counter)
    format_errors: Counter[str] = field(default_factory=Counter)
    error_classes: Counter[str] = field(default_factory=Counter)
    metrics: tuple[str, ...] = ()
    """Names of a user's own."""
    measured: dict[str, list[float]] = field(default_factory=dict)
    readable_by: dict[str, int] = field(default_factory=dict)
    """Of `readable_by`, where the template in use reads less than half; empty where it reads more."""
    numbered: bool = False
    """Whether the ids are the numbers of the rows."""
    num_unasked: int = 0
    """Golds of another file that no completion belongs to."""

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
        self.counts["second_asked"] += verdict.second_rule is not None
        self.counts["second_unparsable"] += verdict.second_rule == UNPARSABLE
        self.counts["disagreements"] += disagreement(verdict)
        self.error_classes[verdict.error_class] += 1
        for name, value in zip(self.metrics, verdict.metrics, strict=True):
            if value is not None:
                self.measured.setdefault(name, []).append(value)
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
            summary |= {name: self.counts[name] for name in ("second_asked", "second_unparsable", "disagreements")}
        if self.metrics:
            summary["metrics"] = {
                name: fmean(self.measured[name]) if name in self.measured else None for name in self.metrics
            }
        if len(self.readable_by) > 1:
            summary["readable_by"] = self.readable_by
        return json.dumps(summary)

    @property
    def headroom(self) -> MendableErrors:
        """What of the errors a stage 2 on the answer can mend."""
        return MendableErrors.of(self.error_classes)

    def notices(self) -> list[str]:
        """What a reader of the numbers should know first, a line each: a template that reads little, rows unscored."""
        n, unscored = self.counts["n"], self.counts["unscored"]
        said = [self._of_template()] if self.readable_by else []
        if self.numbered:
            said.append("no column 'id', so each item has the number of its row for an id; --id-field names another")
        if self.num_unasked:
            said.append(f"{self.num_unasked:,} of the golds have no completion; they are in no rate")
        if unscored:
            said.append(f"{unscored:,} of {n:,} completions are unscored: their gold is empty or unusable")
        if unparsable := self.counts["second_unparsable"]:
            asked = f"{unparsable:,} of {self.counts['second_asked']:,} answers of the second grader"
            said.append(f"{asked} could not be read; they count as no opinion")
        return said

    def _of_template(self) -> str:
        (used, _), *others = self.readable_by.items()
        n, valid = self.counts["n"], self.counts["format_valid"]
        read = f"template {used} reads {valid:,} of {n:,} completions"
        if not others:
            return f"{read}; no built-in template reads more, --template FILE says what another format is"
        looked_at = f" of the first {LOOKED_AT:,}" if n > LOOKED_AT else ""
        instead = ", ".join(f"{name} {count:,}" for name, count in others)
        return f"{read}; --template names another, which would read{looked_at}: {instead}"
