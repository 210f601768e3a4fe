"""Where a second grader sees an answer otherwise; only in verdicts that hold its opinion."""

from collections.abc import Sequence
from dataclasses import dataclass

from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import Rate, Shares, rate
from sftkey_eval.records.verdicts import Outcome
from sftkey_eval.scoring.second_grader import disagreement


@dataclass(frozen=True, slots=True)
class Opinions:
    """A second grader's opinion on one run.

    Args:
        disagreement: Verdicts that differ, over the answers that both graded: Keys, and candidates of malformed ones.
        differing: Those verdicts.
        unparsable: Times it was asked and gave no answer that can be read.
    """

    disagreement: Rate
    differing: tuple[Outcome, ...]
    unparsable: int


def opinions(runs: Sequence[Run]) -> dict[str, Opinions]:
    """By run label, of the runs that a second grader saw."""
    found = {}
    for run in runs:
        asked = [verdict for verdict in run.verdicts if verdict.second_rule]
        if asked:
            graded = [verdict for verdict in asked if verdict.second_verdict]
            differs = [disagreement(verdict) for verdict in graded]
            differing = tuple(verdict for verdict, differ in zip(graded, differs, strict=True) if differ)
            share = Shares(graded)(differs) if graded else rate(0, 0)
            found[run.label] = Opinions(share, differing, len(asked) - len(graded))
    return found
