"""Where a second grader sees an answer otherwise; only in verdicts that hold its opinion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Bools
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import Rate, Shares, rate
from sftkey_eval.scoring.second_grader import disagreement


@dataclass(frozen=True, slots=True)
class Opinions:
    """A second grader's opinion on one run.

    Args:
        disagreement: Verdicts that differ, over the answers that both graded: Keys, and candidates of malformed ones.
        differing: The ids of those verdicts.
        unparsable: Times it was asked and gave no answer that can be read.
    """

    disagreement: Rate
    differing: tuple[str, ...]
    unparsable: int


def opinions(runs: Sequence[Run]) -> dict[str, Opinions]:
    """By run label, of the runs that a second grader saw."""
    found = {}
    for run in runs:
        asked = _said(run, "second_rule")
        if asked.any():
            graded = np.flatnonzero(asked & _said(run, "second_verdict"))
            differs = np.fromiter(map(disagreement, run.verdicts.at(graded)), bool)
            share = Shares(run.verdicts.items[graded])(differs) if len(graded) else rate(0, 0)
            differing = run.verdicts.column("id").take(pa.array(graded[differs])).to_pylist()
            found[run.label] = Opinions(share, tuple(differing), int(np.count_nonzero(asked)) - len(graded))
    return found


def _said(run: Run, name: str) -> Bools:
    """Where a column of texts has one."""
    column = run.verdicts.column(name)
    said: Bools = pc.fill_null(pc.not_equal(column, ""), False).to_numpy(zero_copy_only=False)
    return said
