"""The whole evaluation of one model: generate, score, report, into one folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from sftkey_eval.generate import GenerateOptions, GenerateResult, generate
from sftkey_eval.report import Report, report
from sftkey_eval.runs import VERDICTS_FILE
from sftkey_eval.score import score_file
from sftkey_eval.second import check_second_grader

COMPLETIONS_FILE = "completions.jsonl"
REPORT_FOLDER = "report"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run."""

    generated: GenerateResult
    report: Report
    out: Path

    def to_json(self) -> str:
        """The headline numbers in one line for stdout."""
        (summary,) = self.report.summaries.values()
        counts = {name: {"k": rate.k, "n": rate.n} for name, rate in summary.headline.items()}
        return json.dumps({"out": str(self.out), "num_new": self.generated.num_new, **counts})


def run(options: GenerateOptions, out: Path, *, workers: int = 1, second_grader: str | None = None) -> RunResult:
    """Evaluate a model on prepared data; called again after an interruption, it continues.

    Args:
        options: Model, data and sampling.
        out: Folder for `completions.jsonl`, `run.json`, `verdicts.parquet` and `report/`.
        workers: Processes that score.
        second_grader: As of `score_file`.

    Raises:
        SFTKeyError: What `generate`, `score_file` and `report` refuse.
    """
    check_second_grader(second_grader)
    generated = generate(options, out / COMPLETIONS_FILE)
    score_file(generated.path, out / VERDICTS_FILE, workers=workers, second_grader=second_grader)
    return RunResult(generated, report([str(out)], out / REPORT_FOLDER), out)
