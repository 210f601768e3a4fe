"""`sftkey-train`: two-stage training from prepared shards. Run as `sftkey-train run RECIPE.toml`."""

import sftkey_data.starting.quiet_imports  # noqa: F401 - before what takes long to import

# isort: split
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sftkey_data import console
from sftkey_data.command_line.program import make_program, verb_of
from sftkey_data.command_line.usual_options import ALL_CORES, Engine
from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import check_engine, require
from sftkey_data.options import MOST_WORKERS, Panel
from sftkey_data.publish.push_verb import add_push

if TYPE_CHECKING:
    from sftkey_data.publish.hub_push import Pushed
    from sftkey_train.study.study_runner import OpenStudy

EPILOG = """Example: sftkey-train run train/recipes/gsm8k_qwen2.5-0.5b.toml --set stage.0.lr=1e-5 --set seed=1

Look first: sftkey-train run train/recipes/gsm8k_qwen2.5-0.5b.toml --dry-run

Several GPUs: torchrun --nproc-per-node 8 -m sftkey_train.cli run RECIPE.toml (each takes its share of every batch)"""

STUDY_EPILOG = """Example: sftkey-train study train/recipes/studies/small.toml

Look first: sftkey-train study train/recipes/studies/small.toml --plan

Which stage 2 to use: sftkey-train study train/recipes/studies/own_data.toml --select

The report again: sftkey-train study --report runs/study-small/study.json --out runs/study-report"""

app = make_program("sftkey-train", "Train language models in stages, with the loss where the recipe puts it.")


@verb_of(app, epilog=EPILOG)
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file, TOML.", rich_help_panel=Panel.IN)],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key, as stage.NAME.lr=1e-4 or stage.0.lr=1e-4; repeatable.",
            rich_help_panel=Panel.IN,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Delete the run in `out` and start anew.", rich_help_panel=Panel.SAFETY),
    ] = False,
    only_show: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show shapes, steps, memory and the first batch of each stage; train and write nothing.",
            rich_help_panel=Panel.SAFETY,
        ),
    ] = False,
) -> None:
    """Run all stages of a recipe. The same command again resumes after a stop, and skips what is finished.

    Writes OUT/STAGE/final (Hugging Face layout, with tokenizer and recipe.json), OUT/metrics.jsonl and OUT/loss.png.
    With `[lora]`, `final` holds the merged weights and `final/adapter` the adapter alone; with `best`,
    OUT/STAGE/best-STEP holds the model that was best on the held-out set. On stdout, one JSON object per stage as it
    ends: stage, steps, loss, heldout, generated, final, best. Progress goes to stderr, and a line per stage that
    says how often what the model wrote by itself has a valid format and the right Key.
    """
    require("run", "train", "torch", "matplotlib")
    from sftkey_train.recipe_file import load_recipe

    loaded = load_recipe(recipe, settings or [])
    # Here, as it loads torch and transformers: seconds that neither `--help` nor a misspelt key has.
    from sftkey_train.recipe_run import dry_run, run_recipe

    if only_show:
        console.tell_in_colour(dry_run(loaded, overwrite=overwrite))
        changed = [word for setting in settings or [] for word in ("--set", setting)]
        console.next_command("sftkey-train", "run", recipe, *changed, *(["--overwrite"] if overwrite else []))
        return
    final = None
    for summary in run_recipe(loaded, overwrite=overwrite):
        console.tell(json.dumps(summary))
        final = str(summary["final"])
    if final is not None:  # only the first of several processes is told
        console.next_command("sftkey-eval", "run", *_evaluation_of(final, loaded.heldout))


def _evaluation_of(final: str, heldout: Path | None) -> Sequence[object]:
    """How `sftkey-eval run` is asked for what a stage has trained: completions as long as those of the held-out set."""
    words = ["--model", final, "--data", heldout or "TEST", "--out", f"{final}-eval"]
    if heldout is None:
        return words
    from sftkey_data.model_loading import load_config
    from sftkey_train.batches.training_set import read_training_set
    from sftkey_train.measure.generated_match import room_for_completions

    room = room_for_completions(read_training_set(heldout), load_config(Path(final)))
    return [*words, "--max-new-tokens", room]


@verb_of(app, epilog=STUDY_EPILOG)
def study(
    file: Annotated[
        Path | None, typer.Argument(metavar="STUDY", help="Study file, TOML.", rich_help_panel=Panel.IN)
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Show the runs, what is done and what the rest costs; train nothing.",
            rich_help_panel=Panel.SAFETY,
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="This arm, with the stage 1 it needs; repeatable.", rich_help_panel=Panel.IN),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This dataset; repeatable.", rich_help_panel=Panel.IN)
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="The study's seeds from A up to but not B.", rich_help_panel=Panel.IN),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            *("--workers", "--jobs"), min=1, max=MOST_WORKERS, metavar="N", help=ALL_CORES, rich_help_panel=Panel.SPEED
        ),
    ] = None,
    select: Annotated[
        bool,
        typer.Option(
            "--select",
            help="At the end, choose a stage 2 on validation and write its recipe.",
            rich_help_panel=Panel.OUT,
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of STUDY: the report of this study.json or study.json.gz.",
            rich_help_panel=Panel.IN,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the report of --report.", rich_help_panel=Panel.OUT)
    ] = None,
    engine: Engine = "local",
) -> None:
    """Train all arms of a study with all its seeds on all its datasets, and score what each writes.

    Stage 1 is trained once per seed and dataset, and every arm starts from it with the same data order. The same
    command again goes on after a stop. A changed study file trains what it changes; the rest is as it was.

    Writes OUT/study.json: per run steps, supervised tokens, FLOPs, seconds, and the counts of validation and test
    (seeds for tuning: of validation alone). OUT/runs/DATASET/seed-N/ARM-KEY holds the model and the completions. At
    its end, OUT/study.html, study.md, report.json, tables and plots, made of study.json alone. On stdout, one JSON
    object per run as it ends, and one that names the report; on stderr, what was found in a sentence.

    Each of the `--workers` has the study's `threads`; with a GPU there is one worker where nobody says.

    With `--engine ray`, OUT and the data lie in a folder that all machines of the cluster share.

    With --select also OUT/recommended.toml (of several datasets recommended-DATASET.toml): the recipe of stage 1 and of
    the arm that is shown better than `continued` on validation, or of `continued`, with the gain on test.
    """
    partly = plan or bool(only) or bool(dataset) or seeds is not None
    _refuse_together(file, report, out, partly=partly, select=select)
    require("study", "train", "torch", "matplotlib")
    require("study", "eval", "lm_eval", "scipy", "jinja2")
    if file is None:
        _report(cast(Path, report), cast(Path, out))
        return
    from sftkey_train.study.study_file import load_study

    load_study(file)  # first, as what follows loads torch and transformers
    from sftkey_train.study.plan_lines import plan_lines
    from sftkey_train.study.selection import check_selectable
    from sftkey_train.study.study_runner import RECORD, open_study, run_study

    if check_engine(engine) == "ray" and workers is not None and workers > 1:
        raise SFTKeyError("--workers is for --engine local; a Ray cluster runs as many at once as it has CPUs for")
    opened = open_study(file, only or [], dataset or [])
    if plan:
        for line in list(plan_lines(opened, only or [], seeds, dataset or [])):
            console.tell(line)
        chosen = [("--only", only), ("--dataset", dataset), ("--seeds", [seeds] if seeds else None)]
        words = [word for flag, values in chosen for value in values or [] for word in (flag, value)]
        console.next_command("sftkey-train", "study", file, *words)
        return
    if select:
        check_selectable(opened.study, str(file))
    for result in run_study(opened, only or [], seeds, workers, engine, dataset or []):
        console.tell(json.dumps(_brief(result)))
    _report(opened.study.out / RECORD, opened.study.out)
    if select:
        _recommend(opened)
    else:
        console.next_command("sftkey-train", "study", file, "--select")


@verb_of(app)
def recipe(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR", help="Pretrained model [default: a small one from scratch]", rich_help_panel=Panel.IN
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Prepared folder, of the model's tokenizer.", rich_help_panel=Panel.IN),
    ] = None,
    heldout: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="To measure on [default: what `build --holdout` left]", rich_help_panel=Panel.IN
        ),
    ] = None,
    path: Annotated[
        bool,
        typer.Option("--path", help="Instead: the folder of the ready recipes.", rich_help_panel=Panel.OUT),
    ] = False,
) -> None:
    """Propose a commented recipe for a model, a prepared folder and this machine, on stdout.

    Lengths are those of the folder; the tokens of a forward pass are those that fit in this machine's memory, with
    LoRA where training all weights does not; epochs become steps where they would take longer than a day here.

    Example: `sftkey-train recipe --model Qwen/Qwen2.5-0.5B --data data/gsm8k > recipe.toml`
    """
    if path:
        from sftkey_train.recipe_file import READY_RECIPES

        console.tell(str(READY_RECIPES))
        return
    if data is None:
        raise typer.BadParameter("expected --data, or --path")
    require("recipe", "train", "torch", "matplotlib")
    from sftkey_train.proposal.machine import this_machine
    from sftkey_train.proposal.proposed_recipe import propose_recipe
    from sftkey_train.proposal.recipe_comments import commented_recipe, remarks

    proposed = propose_recipe(model, data, heldout, this_machine())
    console.tell(commented_recipe(proposed))
    for line in remarks(proposed):
        console.tell(line, err=True)
    console.next_with_output("recipe.toml", "sftkey-train", lambda file: ("run", file, "--dry-run"))


def _refuse_together(file: Path | None, report: Path | None, out: Path | None, *, partly: bool, select: bool) -> None:
    """Either a study is run, whole where something is chosen from it, or a report is written and nothing else."""
    if select and partly:
        raise typer.BadParameter(
            "--select chooses from the whole study: expected no --plan, --only, --dataset or --seeds with it"
        )
    if report is not None and (out is None or file is not None or partly or select):
        raise typer.BadParameter("goes with --out DIR, and with no STUDY and nothing else", param_hint="--report")
    if report is None and (file is None or out is not None):
        raise typer.BadParameter("expected STUDY, or --report FILE --out DIR", param_hint="STUDY")


_BRIEF = ("dataset", "seed", "role", "arm", "steps")
_BRIEF_SCORES = ("n", "format_valid", "correct", "lenient_correct")


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    """What a run has come to, as a line to look at; study.json has its costs, hashes, items and measurements."""
    scores = result.get("scores", {})
    counts = {part: {name: found[name] for name in _BRIEF_SCORES} for part, found in scores.items()}
    seconds = round(sum(taken or 0 for taken in result["seconds"].values()), 1)
    return {name: result[name] for name in _BRIEF} | {"seconds": seconds, "scores": counts}


def _report(record: Path, out: Path) -> None:
    from sftkey_train.study.report.study_report import report_study, study_line, study_text

    numbers = report_study(record, out)
    console.tell(study_text(numbers), err=True)
    console.tell(study_line(numbers, out))


def _recommend(opened: "OpenStudy") -> None:
    from sftkey_train.study.recommended import write_recommended

    for recommendation in write_recommended(opened):
        console.tell(recommendation.sentence, err=True)
        console.tell(recommendation.to_json())
        console.next_command("sftkey-train", "run", recommendation.path)


def _pushed(folder: Path) -> "Pushed":
    require("push", "train", "torch", "safetensors")
    from sftkey_train.model_push import pushed_model

    return pushed_model(folder)


add_push(app, "`final` or `best-STEP` of a stage", "runs/a/stage2/final OWNER/stage2 --private", _pushed)


def main() -> None:
    """The console script."""
    console.run_program(app)


if __name__ == "__main__":
    main()
