"""`sftkey-eval`: generate completions, score them, report on runs, compare two."""

# Heavy imports sit inside the verbs, so that `--help` answers at once.

from pathlib import Path
from typing import Annotated

import typer

from sftkey_data import console
from sftkey_data.extras import require

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

GENERATE = ("torch", "lm_eval")
REPORT = ("scipy", "jinja2", "matplotlib")
FIELD_FLAG = "Column of the completions file."

Model = Annotated[str, typer.Option(help="Model folder or hub name.")]
Data = Annotated[Path, typer.Option(help="Folder written by `sftkey-data build`.")]
Backend = Annotated[str, typer.Option(help="One of lm-eval's model back-ends: hf, vllm, sglang, local-completions, …")]
BackendArgs = Annotated[
    str | None,
    typer.Option(help="Of the back-end, as lm-eval's model_args: base_url=http://…/v1/completions,timeout=60"),
]
Concurrency = Annotated[int, typer.Option(help="Requests to a server at once.")]
BatchSize = Annotated[int, typer.Option(help="Prompts per forward pass.")]
MaxNewTokens = Annotated[int, typer.Option(help="Limit per completion; with the prompt it must fit the context.")]
Temperature = Annotated[float, typer.Option(help="0 is greedy.")]
TopP = Annotated[float, typer.Option(help="Sample from the likeliest tokens that hold this share; 1: from all.")]
TopK = Annotated[int, typer.Option(help="Sample from the likeliest tokens, so many; 0: from all.")]
NumSamples = Annotated[int, typer.Option(help="Completions per item, each with a seed of its own.")]
Seed = Annotated[int, typer.Option(help="Of the sampling.")]
Split = Annotated[str | None, typer.Option(help="Only rows of this split.")]
Limit = Annotated[int | None, typer.Option(help="Only the first rows.")]
Device = Annotated[str | None, typer.Option(help="cuda, cuda:1, mps or cpu; default: an accelerator if there is one.")]
Dtype = Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16 or float16.")]
Name = Annotated[str | None, typer.Option(help="Name of the run in reports; default: from the model's path.")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="Folder with what this model has completed in other runs; filled too.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Discard what another run left at --out.")]
Runs = Annotated[list[str], typer.Argument(help="Run folders or verdicts files, each as PATH or LABEL=PATH.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes; the result is the same for any number.")]
SecondGrader = Annotated[str | None, typer.Option(help="math-verify: its opinion beside ours, and where they differ.")]
TeacherForced = Annotated[
    bool, typer.Option("--teacher-forced", help="Also the gold Key's NLL given the gold CoT and given the model's own.")
]
Percent = Annotated[str, typer.Option(help="either: 50% equals 0.5 and 50; strict: 0.5 only.")]
Units = Annotated[str, typer.Option(help="forgive_missing or strict; a different unit is always wrong.")]
Case = Annotated[str, typer.Option(help="fold or keep: whether the case of words counts.")]
Order = Annotated[str, typer.Option(help="by_kind: sets and comma lists have no order; keep: all do.")]
Rounding = Annotated[int | None, typer.Option(help="Decimal places to which numbers are rounded; default: exact.")]
AllowTemplate = Annotated[bool, typer.Option("--allow-different-template", help="Pair runs of different templates.")]
AllowPrompts = Annotated[bool, typer.Option("--allow-different-prompts", help="Pair runs with different prompts.")]


@app.callback()
def root() -> None:
    """Format validity and answer accuracy as two numbers, and where the errors come from."""


@app.command()
def score(
    completions: Annotated[Path, typer.Argument(help="JSON lines, made here or elsewhere.")],
    out: Annotated[Path, typer.Option(help="Verdicts to write (.parquet).")],
    template: Annotated[
        str | None,
        typer.Option(help="Template name or .toml file; default: the one in run.json beside the file, else sftkey."),
    ] = None,
    answer_type: Annotated[
        str | None,
        typer.Option(
            help="number, math, choice, boolean, text or list, whatever the rows say; default: what they say."
        ),
    ] = None,
    completion_field: Annotated[str, typer.Option(help=FIELD_FLAG)] = "completion",
    gold_field: Annotated[str, typer.Option(help=FIELD_FLAG)] = "gold",
    id_field: Annotated[str, typer.Option(help=FIELD_FLAG)] = "id",
    choices_field: Annotated[
        str | None,
        typer.Option(help="Column with the list of option texts; default: choices, where the file has it."),
    ] = None,
    workers: Workers = 1,
    second_grader: SecondGrader = None,
    percent: Percent = "either",
    units: Units = "forgive_missing",
    case: Case = "fold",
    order: Order = "by_kind",
    rounding: Rounding = None,
) -> None:
    """Score a file of completions; the summary is one JSON line on stdout.

    Example: `sftkey-eval score theirs.jsonl --out verdicts.parquet --template boxed --gold-field answer`
    """
    from sftkey_eval.policy import read_policy
    from sftkey_eval.records.completions import Fields
    from sftkey_eval.scoring.score import score_file

    policy = read_policy(percent=percent, units=units, case=case, order=order, rounding=rounding)
    fields = Fields(id=id_field, completion=completion_field, gold=gold_field, choices=choices_field)
    summary = score_file(
        completions,
        out,
        template=template,
        answer_type=answer_type,
        fields=fields,
        policy=policy,
        workers=workers,
        second_grader=second_grader,
    )
    typer.echo(summary.to_json())


@app.command()
def grade(
    pairs: Annotated[Path, typer.Argument(help="JSON lines: gold, predicted, answer_type, for a choice also choices.")],
    out: Annotated[Path, typer.Option(help="Verdicts to write (.jsonl), one line per line, in the same order.")],
    answer_type: Annotated[str | None, typer.Option(help="For lines that do not say.")] = None,
    workers: Workers = 1,
    percent: Percent = "either",
    units: Units = "forgive_missing",
    case: Case = "fold",
    order: Order = "by_kind",
    rounding: Rounding = None,
) -> None:
    """Grade pairs of answers; the counts are one JSON line on stdout.

    Example: `sftkey-eval grade pairs.jsonl --out verdicts.jsonl --workers 4`
    """
    from sftkey_eval.policy import read_policy
    from sftkey_eval.scoring.answer_pairs import grade_file

    policy = read_policy(percent=percent, units=units, case=case, order=order, rounding=rounding)
    typer.echo(grade_file(pairs, out, answer_type=answer_type, policy=policy, workers=workers).to_json())


@app.command()
def generate(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Completions to write (.jsonl); run.json goes beside it.")],
    backend: Backend = "hf",
    backend_args: BackendArgs = None,
    concurrency: Concurrency = 1,
    batch_size: BatchSize = 8,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    num_samples: NumSamples = 1,
    seed: Seed = 0,
    split: Split = None,
    limit: Limit = None,
    device: Device = None,
    dtype: Dtype = "auto",
    name: Name = None,
    overwrite: Overwrite = False,
    cache: CacheFolder = None,
) -> None:
    """Complete every prompt of prepared data; the same command resumes.

    Example: `sftkey-eval generate --model runs/a/stage2/final --data data/test --out runs/eval/completions.jsonl`
    """
    require("generate", "eval", *GENERATE)
    from sftkey_eval.generation.generate import generate as generate_completions
    from sftkey_eval.generation.generate_options import GenerateOptions

    options = GenerateOptions(
        model=model,
        data=data,
        backend=backend,
        backend_args=backend_args,
        concurrency=concurrency,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        num_samples=num_samples,
        seed=seed,
        split=split,
        limit=limit,
        device=device,
        dtype=dtype,
        name=name,
        overwrite=overwrite,
        cache=cache,
    )
    typer.echo(generate_completions(options, out).to_json())


@app.command()
def run(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for completions, verdicts and report.")],
    backend: Backend = "hf",
    backend_args: BackendArgs = None,
    concurrency: Concurrency = 1,
    batch_size: BatchSize = 8,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    num_samples: NumSamples = 1,
    seed: Seed = 0,
    split: Split = None,
    limit: Limit = None,
    device: Device = None,
    dtype: Dtype = "auto",
    name: Name = None,
    overwrite: Overwrite = False,
    cache: CacheFolder = None,
    workers: Workers = 1,
    second_grader: SecondGrader = None,
    teacher_forced: TeacherForced = False,
) -> None:
    """Generate, score and report into one folder; the same command resumes.

    Example: `sftkey-eval run --model runs/a/stage2/final --data data/test --out runs/eval/stage2`
    """
    require("run", "eval", *GENERATE, *REPORT)
    from sftkey_eval.generation.generate_options import GenerateOptions
    from sftkey_eval.report.terminal import headline_text
    from sftkey_eval.run import run as run_evaluation

    options = GenerateOptions(
        model=model,
        data=data,
        backend=backend,
        backend_args=backend_args,
        concurrency=concurrency,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        num_samples=num_samples,
        seed=seed,
        split=split,
        limit=limit,
        device=device,
        dtype=dtype,
        name=name,
        overwrite=overwrite,
        cache=cache,
    )
    result = run_evaluation(options, out, workers=workers, second_grader=second_grader, teacher_forced=teacher_forced)
    typer.echo(headline_text(result.report.summaries), err=True)
    if result.exposure is not None:
        typer.echo(f"\n{result.exposure.line()}", err=True)
    typer.echo(result.to_json())


@app.command()
def report(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="Folder for report.html, .md and .json, tables and plots.")],
    allow_different_template: AllowTemplate = False,
    allow_different_prompts: AllowPrompts = False,
) -> None:
    """Report on one or several runs; those that answered the same items are paired with the first.

    Example: `sftkey-eval report control=runs/eval/a stage2=runs/eval/b --out runs/report`
    """
    require("report", "eval", *REPORT)
    from sftkey_eval.analysis.comparability import Allowed
    from sftkey_eval.report.report import report as write_report
    from sftkey_eval.report.report import report_line
    from sftkey_eval.report.terminal import report_text

    made = write_report(runs, out, Allowed(allow_different_template, allow_different_prompts))
    typer.echo(report_text(made), err=True)
    typer.echo(report_line(made, out))


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="The run compared with: PATH or LABEL=PATH.")],
    run_b: Annotated[str, typer.Argument(help="The run that is compared: PATH or LABEL=PATH.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.html, .md and .json, tables and plots.")],
    allow_different_template: AllowTemplate = False,
    allow_different_prompts: AllowPrompts = False,
) -> None:
    """Compare two runs item by item; refused unless they answered the same items under the same policy.

    Example: `sftkey-eval compare runs/eval/a runs/eval/b --out runs/compare`
    """
    require("compare", "eval", *REPORT)
    from sftkey_eval.analysis.comparability import Allowed
    from sftkey_eval.report.compare import compare as write_comparison
    from sftkey_eval.report.compare import comparison_line
    from sftkey_eval.report.printed import format_statement
    from sftkey_eval.report.terminal import paired_text

    comparison = write_comparison(run_a, run_b, out, Allowed(allow_different_template, allow_different_prompts))
    typer.echo(f"{paired_text([comparison])}\n\n{format_statement(comparison)}", err=True)
    typer.echo(comparison_line(comparison, out))


@app.command()
def tasks(
    path: Annotated[bool, typer.Option("--path", help="Print the folder for lm-eval's --include_path.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print each task, its source and split; the default.")] = False,
) -> None:
    """Our evaluation sets as tasks of lm-eval's own command.

    Example: `lm_eval run --include_path "$(sftkey-eval tasks --path)" --tasks sftkey_gsm8k --model_args pretrained=M`
    """
    if path and list_:
        raise typer.BadParameter("--path and --list print different things, expected one of them")
    from sftkey_eval.tasks.lm_eval_tasks import FOLDER, all_tasks

    lines = [str(FOLDER)] if path else [f"{task.name}\t{task.source}\t{task.split}" for task in all_tasks()]
    typer.echo("\n".join(lines))


@app.command("import")
def import_(
    logs: Annotated[list[Path], typer.Argument(help="lm-eval's samples_*.jsonl; Inspect's .json or .eval logs.")],
    out: Annotated[Path, typer.Option(help="Completions to write (.jsonl).")],
    dataset: Annotated[
        str | None,
        typer.Option(help="Read golds from the rows lm-eval logged, as this dataset does; default: its target."),
    ] = None,
) -> None:
    """Make completions of other programs' logs; what was read and written is one JSON line on stdout.

    Example: `sftkey-eval import results/m/samples_gsm8k_*.jsonl --dataset gsm8k --out runs/m/completions.jsonl`
    """
    from sftkey_eval.logs.import_logs import import_logs

    typer.echo(import_logs(logs, out, dataset=dataset).to_json())


def main() -> None:
    """Console-script entry."""
    console.run_program(app)


if __name__ == "__main__":
    main()
