"""The whole evaluation of one model: generate, score, report, into one folder."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftkey_data.publish.trackers import Trackers, check_trackers
from sftkey_data.storage.own_output import own_folder
from sftkey_eval.analysis.loaded_runs import VERDICTS_FILE
from sftkey_eval.exposure.exposure_gap import Exposure
from sftkey_eval.extraction.answer_marks import answer_marks
from sftkey_eval.generation.generate import GenerateResult, generate
from sftkey_eval.judge.judge_options import check_judge
from sftkey_eval.records.run_record import RECORD_FILE, read_record
from sftkey_eval.report.report import Report, report
from sftkey_eval.run_options import RunOptions
from sftkey_eval.scoring.headroom import MendableErrors
from sftkey_eval.scoring.metric_files import load_metrics
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_eval.scoring.second_grader import check_second_grader

COMPLETIONS_FILE = "completions.jsonl"
REPORT_FOLDER = "report"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run."""

    generated: GenerateResult
    report: Report
    out: Path
    headroom: MendableErrors
    exposure: Exposure | None = None
    notices: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The headline numbers in one line for stdout."""
        (summary,) = self.report.summaries.values()
        counts = {name: {"k": rate.k, "n": rate.n} for name, rate in summary.headline.items()}
        facts = {"out": str(self.out), "num_new": self.generated.num_new, **counts}
        if self.exposure is not None:
            facts["teacher_forced"] = asdict(self.exposure)
        return json.dumps(facts)


def run(options: RunOptions, out: Path) -> RunResult:
    """Evaluate a model on prepared data; called again after an interruption, it continues.

    Args:
        options: Model, data, sampling, and what else to measure.
        out: Folder for `completions.jsonl`, `run.json`, `verdicts.parquet` and `report/`.

    Raises:
        SFTKeyError: What `generate`, `score_file`, `teacher_force` and `report` refuse.
    """
    check_second_grader(options.second_grader)
    check_judge(options.judge, options.second_grader)
    answer_marks(options.answer_marks)  # a wrong file is refused before the model is loaded
    load_metrics(options.metric)
    check_trackers(options.tracker, "train")
    with own_folder(out, _is_run):
        return _run(options, out)


def _is_run(out: Path) -> bool:
    """Whether completions of `generate` lie there, which marks no folder: it writes beside other files."""
    return (out / RECORD_FILE).is_file() and read_record(out / RECORD_FILE).completions == COMPLETIONS_FILE


def _run(options: RunOptions, out: Path) -> RunResult:
    generated = generate(options, out / COMPLETIONS_FILE)
    scoring = ScoreOptions(
        workers=options.workers,
        second_grader=options.second_grader,
        judge=options.judge,
        concurrency=options.concurrency,
        answer_marks=options.answer_marks,
        metric=options.metric,
        config=options.config,
    )
    tally = score_file(generated.path, out / VERDICTS_FILE, scoring)
    exposure = _teacher_force(options, generated.path) if options.teacher_forced else None
    made = report([str(out)], out / REPORT_FOLDER, config=options.config)
    _track(options.tracker, made, exposure, out)
    return RunResult(generated, made, out, tally.headroom, exposure, tuple(tally.notices()))


def _track(names: Sequence[str], made: Report, exposure: Exposure | None, out: Path) -> None:
    """Send the numbers of a run to trackers, with its record as their settings; one that fails is left out."""
    if not names:
        return
    record = read_record(out / RECORD_FILE)
    trackers = Trackers(names, run_name=record.name, folder=out, settings=record.model_dump(), on_cpu=True)
    with closing(trackers):
        trackers.start()
        trackers.log(_tracked(made, exposure), prefix="eval/", step=0)


def _tracked(made: Report, exposure: Exposure | None) -> dict[str, Any]:
    (summary,) = made.summaries.values()
    return {
        "items": summary.num_items,
        **{name: rate.value for name, rate in summary.headline.items()},
        "composite": summary.composite,
        "undecided": summary.undecided,
        "unscored": summary.unscored,
        "error_classes": {name: rate.value for name, rate in summary.error_classes.items()},
        "metrics": {metric.name: mean.value for metric in made.metrics for mean in metric.values.values() if mean},
        **({} if exposure is None else {"teacher_forced": asdict(exposure)}),
    }


def _teacher_force(options: RunOptions, completions: Path) -> Exposure:
    from sftkey_eval.exposure.teacher_forcing import teacher_force

    return teacher_force(options.model, options.data, completions, device=options.device, dtype=options.dtype)
