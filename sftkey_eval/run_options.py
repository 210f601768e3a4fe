"""How to run a whole evaluation: the options of `generate` and, of the other steps, those that `run` has too."""

from dataclasses import dataclass, field
from typing import Annotated

from sftkey_data.options import Option, Panel
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.judge.judge_options import JudgeOptions
from sftkey_eval.scoring.score_options import AnswerMarksFile, MetricFiles, Processes, SecondGrader


@dataclass(frozen=True, kw_only=True)
class RunOptions(GenerateOptions):
    """How to evaluate a model on prepared data; see `sftkey-eval run --help` for each."""

    workers: Processes = None
    second_grader: SecondGrader = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    answer_marks: AnswerMarksFile = None
    metric: MetricFiles = ()
    tracker: Annotated[
        tuple[str, ...],
        Option(
            metavar="NAME",
            help="The numbers to wandb, mlflow, tensorboard, … of accelerate's too; again for more.",
            panel=Panel.OUT,
            rare=True,
        ),
    ] = ()
    teacher_forced: Annotated[
        bool,
        Option(
            flag="--teacher-forced",
            help="Also the gold Key's NLL given the gold CoT and given the model's own.",
            panel=Panel.GRADING,
            rare=True,
        ),
    ] = False
