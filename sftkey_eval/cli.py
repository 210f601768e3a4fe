"""`sftkey-eval`: generate completions, score them, report on runs, compare two."""

# Heavy imports sit inside the verbs, so that `--help` answers at once.

import sftkey_data.starting.quiet_imports  # noqa: F401 - before what takes long to import

# isort: split
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftkey_data import console
from sftkey_data.command_line.program import make_program, verb_of
from sftkey_data.command_line.usual_options import Config
from sftkey_data.extras import require
from sftkey_data.flags import takes_options
from sftkey_data.options import Panel
from sftkey_data.publish.push_verb import add_push
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.run_options import RunOptions
from sftkey_eval.scoring.score_options import GradeOptions, ScoreOptions

if TYPE_CHECKING:
    from sftkey_data.publish.hub_push import Pushed

app = make_program("sftkey-eval", "Format validity and answer accuracy as two numbers, and where the errors come from.")

GENERATE = ("torch", "lm_eval")
REPORT = ("scipy", "jinja2", "matplotlib")


Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Run folders or verdicts files: PATH or LABEL=PATH.", rich_help_panel=Panel.IN
    ),
]


@verb_of(app)
@takes_options
def score(
    completions: Annotated[
        Path,
        typer.Argument(
            metavar="COMPLETIONS",
            help="Of any model: .jsonl, .json, .csv, .tsv, .parquet.",
            rich_help_panel=Panel.IN,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Verdicts to write (.parquet).", rich_help_panel=Panel.OUT)],
    options: ScoreOptions,
) -> None:
    """Score a file of completions; the summary is one JSON line on stdout.

    Example: `sftkey-eval score theirs.jsonl --out verdicts.parquet --template boxed --gold-field answer`
    """
    from sftkey_eval.scoring.score import score_file

    tally = score_file(completions, out, options)
    _say(tally.notices())
    summary = tally.to_json()
    console.tell(tally.headroom.line(), err=True)
    console.tell(summary)
    console.next_command("sftkey-eval", "report", out, "--out", out.with_suffix("").with_name(f"{out.stem}-report"))


@verb_of(app)
@takes_options
def grade(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="JSON lines: gold, predicted, answer_type, for a choice also choices.",
            rich_help_panel=Panel.IN,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Verdicts to write (.jsonl), in the same order.",
            rich_help_panel=Panel.OUT,
        ),
    ],
    options: GradeOptions,
) -> None:
    """Grade pairs of answers; the counts are one JSON line on stdout.

    Example: `sftkey-eval grade pairs.jsonl --out verdicts.jsonl --workers 4`
    """
    from sftkey_eval.scoring.answer_pairs import grade_file

    console.tell(grade_file(pairs, out, options).to_json())


@verb_of(app)
@takes_options
def generate(
    options: GenerateOptions,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Completions to write (.jsonl); run.json goes beside it.", rich_help_panel=Panel.OUT
        ),
    ],
) -> None:
    """Complete every prompt of prepared data; the same command resumes.

    Example: `sftkey-eval generate --model runs/a/stage2/final --data data/test --out runs/eval/completions.jsonl`
    """
    require("generate", "eval", *GENERATE)
    from sftkey_eval.generation.generate import generate as generate_completions

    console.tell(generate_completions(options, out).to_json())
    console.next_command("sftkey-eval", "score", out, "--out", out.with_name("verdicts.parquet"))


@verb_of(app)
@takes_options
def run(
    options: RunOptions,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Completions, verdicts and report.", rich_help_panel=Panel.OUT)
    ],
) -> None:
    """Generate, score and report into one folder; the same command resumes.

    Example: `sftkey-eval run --model runs/a/stage2/final --data data/test --out runs/eval/stage2`
    """
    require("run", "eval", *GENERATE, *REPORT)
    from sftkey_eval.report.terminal import headline_text
    from sftkey_eval.run import REPORT_FOLDER
    from sftkey_eval.run import run as run_evaluation

    result = run_evaluation(options, out)
    console.tell(headline_text(result.report.summaries), err=True)
    console.tell(result.headroom.line(), err=True)
    _say(result.notices)
    if result.exposure is not None:
        console.tell(f"\n{result.exposure.line()}", err=True)
    console.tell(result.to_json())
    _look_at(out / REPORT_FOLDER / "report.html")
    console.next_command("sftkey-eval", "compare", "OTHER_RUN", out, "--out", f"{out}-compare")


@verb_of(app)
@takes_options
def report(
    runs: Runs,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="report.html, .md and .json, tables and plots.", rich_help_panel=Panel.OUT),
    ],
    allowed: Allowed,
    config: Config = None,
) -> None:
    """Report on one or several runs; those that answered the same items are paired with the first.

    Example: `sftkey-eval report control=runs/eval/a stage2=runs/eval/b --out runs/report`
    """
    require("report", "eval", *REPORT)
    from sftkey_eval.report.report import report as write_report
    from sftkey_eval.report.report import report_line
    from sftkey_eval.report.terminal import report_text

    made = write_report(runs, out, allowed, config)
    console.tell(report_text(made), err=True)
    console.tell(report_line(made, out))
    _look_at(out / "report.html")


@verb_of(app)
@takes_options
def compare(
    run_a: Annotated[
        str,
        typer.Argument(metavar="RUN_A", help="The run compared with: PATH or LABEL=PATH.", rich_help_panel=Panel.IN),
    ],
    run_b: Annotated[
        str,
        typer.Argument(metavar="RUN_B", help="The run that is compared: PATH or LABEL=PATH.", rich_help_panel=Panel.IN),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="compare.html, .md and .json, tables and plots.", rich_help_panel=Panel.OUT),
    ],
    allowed: Allowed,
    config: Config = None,
) -> None:
    """Compare two runs item by item; refused unless they answered the same items under the same policy.

    Example: `sftkey-eval compare runs/eval/a runs/eval/b --out runs/compare`
    """
    require("compare", "eval", *REPORT)
    from sftkey_eval.report.compare import compare as write_comparison
    from sftkey_eval.report.compare import comparison_line
    from sftkey_eval.report.printed import format_statement
    from sftkey_eval.report.terminal import paired_text

    comparison = write_comparison(run_a, run_b, out, allowed, config)
    console.tell(f"{paired_text([comparison])}\n\n{format_statement(comparison)}", err=True)
    console.tell(comparison_line(comparison, out))
    _look_at(out / "compare.html")


@verb_of(app)
def index(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Looked through for scored runs.", rich_help_panel=Panel.IN),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="index.html, .json and .csv [default: FOLDER/index]",
            show_default=False,
            rich_help_panel=Panel.OUT,
        ),
    ] = None,
) -> None:
    """One page over all scored runs below a folder: model, data, format, accuracy, date, links.

    Example: `sftkey-eval index runs`
    """
    require("index", "eval", "scipy", "jinja2")
    from sftkey_eval.report.run_index.index import index_line, write_index

    out = out or folder / "index"
    console.tell(index_line(write_index(folder, out), out))
    _look_at(out / "index.html")


@verb_of(app)
def tasks(
    path: Annotated[
        bool,
        typer.Option("--path", help="Print the folder for lm-eval's --include_path.", rich_help_panel=Panel.OUT),
    ] = False,
    list_: Annotated[
        bool,
        typer.Option("--list", help="Print each task, its source and split; the default.", rich_help_panel=Panel.OUT),
    ] = False,
) -> None:
    """Our evaluation sets as tasks of lm-eval's own command.

    Example: `lm_eval run --include_path "$(sftkey-eval tasks --path)" --tasks sftkey_gsm8k --model_args pretrained=M`
    """
    if path and list_:
        raise typer.BadParameter("--path and --list print different things, expected one of them")
    from sftkey_eval.tasks.lm_eval_tasks import FOLDER, all_tasks

    lines = [str(FOLDER)] if path else [f"{task.name}\t{task.source}\t{task.split}" for task in all_tasks()]
    console.tell("\n".join(lines))


@verb_of(app, "import")
def import_(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...",
            help="lm-eval's samples_*.jsonl; Inspect's .json or .eval logs.",
            rich_help_panel=Panel.IN,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Completions to write (.jsonl).", rich_help_panel=Panel.OUT)
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Golds from the rows lm-eval logged, as this dataset reads them [default: lm-eval's target]",
            rich_help_panel=Panel.IN,
        ),
    ] = None,
) -> None:
    """Make completions of other programs' logs; what was read and written is one JSON line on stdout.

    Example: `sftkey-eval import results/m/samples_gsm8k_*.jsonl --dataset gsm8k --out runs/m/completions.jsonl`
    """
    from sftkey_eval.logs.import_logs import import_logs

    console.tell(import_logs(logs, out, dataset=dataset).to_json())
    console.next_command("sftkey-eval", "score", out, "--out", out.with_name("verdicts.parquet"))


def _pushed(folder: Path) -> "Pushed":
    require("push", "eval", *REPORT)
    from sftkey_eval.run_push import pushed_run

    return pushed_run(folder)


add_push(app, "Folder of `run`, `report` or `compare`", "runs/eval/stage2 OWNER/stage2-eval --private", _pushed)


def _look_at(page: Path) -> None:
    console.say(f"look at it: {page}")


def _say(notices: Sequence[str]) -> None:
    for notice in notices:
        console.tell(f"note: {notice}", err=True)


def main() -> None:
    """Console-script entry."""
    console.run_program(app)


if __name__ == "__main__":
    main()
