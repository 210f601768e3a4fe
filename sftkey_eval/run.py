"""The whole evaluation of one model: generate, score, report, into one folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sftkey_eval.analysis.loaded_runs import VERDICTS_FILE
from sftkey_eval.exposure.exposure_gap import Exposure
from sftkey_eval.generation.generate import GenerateResult, generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.report.report import Report, report
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.second_grader import check_second_grader

COMPLETIONS_FILE = "completions.jsonl"
REPORT_FOLDER = "report"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run."""

    generated: GenerateResult
    report: Report
    out: Path
    exposure: Exposure | None = None

    def to_json(self) -> str:
        """The headline numbers in one line for stdout."""
        (summary,) = self.report.summaries.values()
        counts = {name: {"k": rate.k, "n": rate.n} for name, rate in summary.headline.items()}
        facts = {"out": str(self.out), "num_new": self.generated.num_new, **counts}
        if self.exposure is not None:
            facts["teacher_forced"] = asdict(self.exposure)
        return json.dumps(facts)


def run(
    options: GenerateOptions,
    out: Path,
    *,
    workers: int = 1,
    second_grader: str | None = None,
    teacher_forced: bool = False,
) -> RunResult:
    """Evaluate a model on prepared data; called again after an interruption, it continues.

    Args:
        options: Model, data and sampling.
        out: Folder for `completions.jsonl`, `run.json`, `verdicts.parquet` and `report/`.
        workers: Processes that score.
        second_grader: As of `score_file`.
        teacher_forced: Also measure the gold Key given the gold CoT and given the model's own, see `teacher_force`.

    Raises:
        SFTKeyError: What `generate`, `score_file`, `teacher_force` and `report` refuse.
    """
    check_second_grader(second_grader)
    generated = generate(options, out / COMPLETIONS_FILE)
    score_file(generated.path, out / VERDICTS_FILE, workers=workers, second_grader=second_grader)
    exposure = _teacher_force(options, generated.path) if teacher_forced else None
    return RunResult(generated, report([str(out)], out / REPORT_FOLDER), out, exposure)


def _teacher_force(options: GenerateOptions, completions: Path) -> Exposure:
    from sftkey_eval.exposure.teacher_forcing import teacher_force

    return teacher_force(options.model, options.data, completions, device=options.device, dtype=options.dtype)
