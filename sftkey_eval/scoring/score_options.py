"""How to score completions and to grade pairs: each field is a flag of its verb, those of the policy too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sftkey_data.command_line.usual_options import ALL_CORES, ConfigFile
from sftkey_data.extract.parts import ANSWER_TYPES
from sftkey_data.options import MOST_WORKERS, Option, Panel
from sftkey_eval.generation.generate_options import Concurrency
from sftkey_eval.judge.judge_options import JudgeOptions
from sftkey_eval.policy import Policy
from sftkey_eval.records.completion_fields import Fields

Processes = Annotated[int | None, Option(help=ALL_CORES, min=1, max=MOST_WORKERS, range_shown=True, panel=Panel.SPEED)]
AnswerMarksFile = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="TOML file with more words that mark an answer, for the lenient accuracy; 24 languages are known.",
        panel=Panel.GRADING,
        rare=True,
    ),
]
SecondGrader = Annotated[
    str | None,
    Option(metavar="math-verify", help="Its opinion beside ours, and where they differ.", panel=Panel.GRADING),
]

MetricFiles = Annotated[
    tuple[Path, ...],
    Option(
        metavar="FILE.py",
        help="Your own: functions of a verdict. Runs the file.",
        panel=Panel.GRADING,
    ),
]

TYPES = "|".join(ANSWER_TYPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How to score a file of completions; see `sftkey-eval score --help` for each."""

    template: Annotated[
        str | None,
        Option(
            metavar="NAME|FILE",
            help="[default: the one in run.json beside the file, else sftkey]",
            panel=Panel.FORMAT,
        ),
    ] = None
    answer_type: Annotated[
        str | None,
        Option(metavar=TYPES, help="Whatever the rows say [default: what they say]", panel=Panel.GRADING),
    ] = None
    fields: Fields = field(default_factory=Fields)
    workers: Processes = None
    second_grader: SecondGrader = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    concurrency: Concurrency = 1
    answer_marks: AnswerMarksFile = None
    metric: MetricFiles = ()
    config: ConfigFile = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeOptions:
    """How to grade a file of pairs; see `sftkey-eval grade --help` for each."""

    answer_type: Annotated[
        str | None, Option(metavar=TYPES, help="For lines that do not say.", panel=Panel.GRADING)
    ] = None
    workers: Processes = None
    policy: Policy = field(default_factory=Policy)
