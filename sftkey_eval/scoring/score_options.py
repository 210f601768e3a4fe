"""How to score completions and to grade pairs: each field is a flag of its verb, those of the policy too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sftkey_data.options import Option
from sftkey_eval.policy import Policy
from sftkey_eval.records.completion_rows import Fields

Workers = Annotated[int, Option(help="Processes; the result is the same for any number.", min=1, range_shown=True)]
AnswerMarksFile = Annotated[
    Path | None,
    Option(help="TOML file with more words that mark an answer, for the lenient accuracy; 24 languages are known."),
]
SecondGrader = Annotated[str | None, Option(help="math-verify: its opinion beside ours, and where they differ.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How to score a file of completions; see `sftkey-eval score --help` for each."""

    template: Annotated[
        str | None,
        Option(help="Template name or .toml file; default: the one in run.json beside the file, else sftkey."),
    ] = None
    answer_type: Annotated[
        str | None,
        Option(help="number, math, choice, boolean, text or list, whatever the rows say; default: what they say."),
    ] = None
    fields: Fields = field(default_factory=Fields)
    workers: Workers = 1
    second_grader: SecondGrader = None
    answer_marks: AnswerMarksFile = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeOptions:
    """How to grade a file of pairs; see `sftkey-eval grade --help` for each."""

    answer_type: Annotated[str | None, Option(help="For lines that do not say.")] = None
    workers: Workers = 1
    policy: Policy = field(default_factory=Policy)
