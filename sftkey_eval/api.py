"""The Python interface of `sftkey_eval` besides `frames`: `score` and `compare`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.interface.keywords import takes_keywords
from sftkey_data.interface.notebook import html_table
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_eval.scoring.score_tally import ScoreTally

if TYPE_CHECKING:
    import pandas as pd

    from sftkey_eval.analysis.paired_comparison import Comparison

__all__ = ["ComparedRuns", "ScoredFile", "compare", "score"]


@dataclass(frozen=True, slots=True, repr=False)
class ScoredFile:
    """What a file of completions has come to: where its verdicts are, and the counts over them."""

    path: Path
    tally: ScoreTally

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and rates, as `sftkey-eval score` prints them."""
        found: dict[str, Any] = json.loads(self.tally.to_json())
        return found

    @property
    def notices(self) -> list[str]:
        """What a reader of the numbers should know first."""
        return self.tally.notices()

    def verdicts(self, data: "str | Path | pd.DataFrame | None" = None) -> "pd.DataFrame":
        """See `load_verdicts`."""
        from sftkey_eval.frames import load_verdicts

        return load_verdicts(self.path, data=data)

    def __repr__(self) -> str:
        found = self.summary
        shown = ", ".join(f"{name} {found[key]:.1%}" for name, key in _SHOWN.items())
        return f"ScoredFile({str(self.path)!r}: {found['n']} completions, {shown})"

    def _repr_html_(self) -> str:
        found = self.summary
        rows = [(name, f"{found[key]:.1%}") for name, key in _SHOWN.items()]
        rows += [(f"error class {name}", str(number)) for name, number in found["error_classes"].items() if number]
        rows += [(f"format error {name}", str(number)) for name, number in found["format_errors"].items()]
        rows += [("note", line) for line in self.notices]
        return html_table(f"{self.path}: {found['n']:,} completions", ("", ""), rows)


_SHOWN = {"format rate": "format_rate", "accuracy": "accuracy", "lenient accuracy": "lenient_accuracy"}


@dataclass(frozen=True, slots=True, repr=False)
class ComparedRuns:
    """Two runs item by item; differences are the second less the first."""

    comparison: "Comparison"
    out: Path | None
    """The folder of the report, where one was written."""

    @property
    def tables(self) -> "dict[str, pd.DataFrame]":
        """The tables of the report by name, `paired` and `flipped` among them."""
        from sftkey_eval.analysis.summary import summarize
        from sftkey_eval.frames import frames_of
        from sftkey_eval.report.compare import comparison_tables

        runs = (self.comparison.first, self.comparison.second)
        return frames_of(
            comparison_tables(self.comparison, {run.label: summarize(run.verdicts, run.policy) for run in runs})
        )

    def __repr__(self) -> str:
        strict = self.comparison.rates["strict"]
        span = f"{100 * strict.difference:+.1f} points [{100 * strict.low:+.1f}, {100 * strict.high:+.1f}]"
        return f"ComparedRuns({self._title()}: accuracy {span}, {strict.num_items} items)"

    def _repr_html_(self) -> str:
        from sftkey_eval.report.report_tables import paired_table
        from sftkey_eval.report.tables import shown_cell

        table = paired_table([self.comparison], tuple(self.comparison.rates))
        return html_table(self._title(), table.columns, [[shown_cell(cell) for cell in row] for row in table.rows])

    def _title(self) -> str:
        return f"{self.comparison.second.label} - {self.comparison.first.label}"


@takes_keywords
def score(completions: str | Path, out: str | Path, options: ScoreOptions) -> ScoredFile:
    """Score a file of completions, made here or elsewhere, as `sftkey-eval score` does.

    Args:
        completions: `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet`.
        out: Verdicts to write (`.parquet`).
        options: An option of `sftkey-eval score` is a keyword, `--gold-field` is `gold_field`.

    Returns:
        Where the verdicts are, and the counts over them.

    Raises:
        SFTKeyError: One line that says what was found and what was expected.

    Example:
        import sftkey_eval

        out = "runs/theirs/verdicts.parquet"
        scored = sftkey_eval.score("theirs.jsonl", out, template="boxed", gold_field="answer")
        print(scored.summary["format_rate"], scored.summary["accuracy"])
    """
    return ScoredFile(Path(out), score_file(Path(completions), Path(out), options))


@takes_keywords
def compare(run_a: str | Path, run_b: str | Path, out: str | Path | None = None, *, allowed: Allowed) -> ComparedRuns:
    """Compare two runs item by item, as `sftkey-eval compare` does.

    Args:
        run_a: The run compared with: a run folder or verdicts file, also as `LABEL=PATH`.
        run_b: The run that is compared.
        out: Folder for the report; None: none is written.
        allowed: An option of `sftkey-eval compare` is a keyword: `allow_different_template`, `allow_different_prompts`.

    Returns:
        Differences with their intervals and tests, and the tables of the report.

    Raises:
        SFTKeyError: A run is not there, or the two cannot be paired.

    Example:
        import sftkey_eval

        sftkey_eval.score("theirs.jsonl", "runs/free/verdicts.parquet", template="plain", gold_field="answer")
        compared = sftkey_eval.compare("runs/free", "runs/theirs", allow_different_template=True)
        print(compared)
        print(compared.tables["flipped"].to_string(index=False))
    """
    from sftkey_eval.analysis.loaded_runs import load_runs
    from sftkey_eval.analysis.paired_comparison import compare_runs
    from sftkey_eval.report.compare import compare as write_comparison

    if out is not None:
        return ComparedRuns(write_comparison(str(run_a), str(run_b), Path(out), allowed), Path(out))
    first, second = load_runs([str(run_a), str(run_b)])
    return ComparedRuns(compare_runs(first, second, allowed), None)
