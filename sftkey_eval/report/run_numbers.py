"""What the tables of a report are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sftkey_eval.analysis.disagreements import Opinions
from sftkey_eval.analysis.groups import Breakdown
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.own_metrics import OwnMetric
from sftkey_eval.analysis.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNumbers:
    """What is known of each run by itself, by its label: what a table of a report is made of."""

    runs: Sequence[Run]
    summaries: Mapping[str, Summary]
    breakdowns: Sequence[Breakdown]
    seconds: Mapping[str, Opinions]
    metrics: Sequence[OwnMetric]
