"""`sftkey-data`: raw chain-of-thought datasets in, Arrow shards with exact Key spans out."""

import sftkey_data.starting.quiet_imports  # noqa: F401 - before what takes long to import

# isort: split
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sftkey_data import console
from sftkey_data.build.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.flags import takes_options
from sftkey_data.view.show_options import SourceOptions

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
app.info.help = __doc__

FolderArgument = Annotated[str, typer.Argument(help="Prepared folder, local or a URL.")]


@app.command("list")
def list_datasets() -> None:
    """List the built-in datasets: name, description, default input, columns, rejects by design and options.

    Example: `sftkey-data list`
    """
    from sftkey_data.registry import builtin_names, load_dataset

    for name in builtin_names():
        dataset = load_dataset(name)
        console.tell(f"{name}\t{dataset.description}")
        if dataset.generate is None:
            named = f"{dataset.default_input or '(name one with --input)'}"
            console.tell(f"\tinput {named}; columns {', '.join(dataset.columns) or '(named by the options)'}")
        if dataset.expected_rejects:
            console.tell(f"\trejects by design: {', '.join(sorted(dataset.expected_rejects))}")
        for option, field in dataset.options.model_fields.items() if dataset.options else ():
            console.tell(f"\t--set {option}={field.default}\t{field.description}")


@app.command()
@takes_options
def build(
    config: BuildConfig,
    out: Annotated[str, typer.Option(help="Folder or URL to write; must not exist or be empty.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per core.")] = None,
    engine: Annotated[
        str, typer.Option(help="`local` processes, or `ray`: tasks on the cluster of $RAY_ADDRESS.")
    ] = "local",
    overwrite: Annotated[bool, typer.Option(help="Replace what is in --out once the build is complete.")] = False,
) -> None:
    """Build a prepared folder: shards, manifest, rejects, card. Running it again after an interruption resumes.

    Example: `sftkey-data build gsm8k --input train.jsonl --tokenizer Qwen/Qwen2.5-0.5B --out data/gsm8k`
    """
    if config.tokenizer is not None and not config.chat and (Path(config.tokenizer) / "tokenizer.json").is_file():
        from sftkey_data.tokens.fastokens_prefetch import prefetch

        prefetch(config.tokenizer)  # before anything else, as it takes longest
    from sftkey_data.build.build import Machinery
    from sftkey_data.build.build import build as run_build
    from sftkey_data.extras import check_engine
    from sftkey_data.prepared.left_out import left_out_lines
    from sftkey_data.prepared.manifest import TOKENIZER_FOLDER
    from sftkey_data.tokens.tokenizer_copy import has_chat_template

    manifest = run_build(
        config, out, overwrite=overwrite, machinery=Machinery(workers or cores(), check_engine(engine))
    )
    counts = manifest.counts
    held = f", {manifest.held_out} held out in {out.rstrip('/')}-holdout" if manifest.held_out else ""
    console.tell(f"{out}: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected{held}")
    for reason, n in manifest.rejects.items():
        console.tell(f"  rejected {reason}: {n}")
    if odd := manifest.statistics["odd_numbers"]:
        first = manifest.statistics["first_odd_number"]
        console.tell(
            f"warning: {odd} of {counts.written} Keys of type number are more than a number; {first}", err=True
        )
    for line in left_out_lines(manifest):
        console.tell(f"note: {line}", err=True)
    if config.tokenizer is not None and not config.chat and has_chat_template(f"{out.rstrip('/')}/{TOKENIZER_FOLDER}"):
        why = "prompts stand without it: a chat model wants them as --chat writes them"
        console.tell(f"note: {config.tokenizer} has a chat template, {why}", err=True)


@app.command()
@takes_options
def show(
    source: Annotated[str, typer.Argument(help="Prepared folder (local or a URL), or a source as for `build`.")],
    num: Annotated[
        int | None,
        typer.Option(min=1, help="How many examples (of a source: rows, rejects too); default 3, with --html all."),
    ] = None,
    wanted: Annotated[str | None, typer.Option("--id", help="The example with this id.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page to filter and search the examples and rejects of a folder.")
    ] = None,
    *,
    rows: SourceOptions,
) -> None:
    """Show examples in colour by region, with the borders of their tokens where there is a tokenizer.

    Example: `sftkey-data show data/gsm8k --num 2` or `sftkey-data show data/gsm8k --html gsm8k.html`
    """
    from sftkey_data.view import show as shows

    is_folder = "://" in source or Path(source).is_dir()
    if not is_folder and (wanted is not None or html is not None):
        raise SFTKeyError(f"{'--html' if wanted is None else '--id'} needs a prepared folder, and {source} is none")
    if html is not None:
        _write_page(source, html, num, wanted)
        return
    if is_folder:
        examples = list(shows.show_folder(source, num or 3, wanted))
    else:
        examples = list(shows.show_source(BuildConfig(source=source, **vars(rows)), num or 3))
    console.tell_in_colour([shows.legend(), *examples])


def _write_page(directory: str, file: Path, num: int | None, wanted: str | None) -> None:
    from sftkey_data.view.examples_page import write_page

    if wanted is not None:
        raise SFTKeyError("--id and --html: the page finds an id by its search, leave one of them out")
    page = write_page(directory, file, num)
    console.tell(f"{file}: {page.examples} examples, {page.rejects} rejects, {page.bytes / 1000:,.0f} kB")


@app.command()
def stats(
    directory: FolderArgument,
    plot: Annotated[Path | None, typer.Option(help="Also draw them, as a PNG file (extra `plot`).")] = None,
) -> None:
    """Print lengths, Key share, CoT/Key ratio, straddles and reject reasons of a prepared folder.

    Example: `sftkey-data stats data/gsm8k --plot gsm8k.png`
    """
    from sftkey_data.view.folder_statistics import as_text, draw, read_statistics

    if plot is not None:
        from sftkey_data.extras import require

        require("stats --plot", "plot", "matplotlib")
    statistics = read_statistics(directory)
    console.tell(as_text(statistics).removesuffix("\n"))
    if plot is not None:
        draw(statistics, plot)


@app.command()
def check(
    directory: FolderArgument,
    full: Annotated[bool, typer.Option("--full", help="Encode every row again and compare.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per core.")] = None,
) -> None:
    """Check hashes, ids, spans, tokens and counts; exit 1 and the row if anything is off.

    Example: `sftkey-data check data/gsm8k --full`
    """
    from sftkey_data.verify.check import check as run_check

    manifest = run_check(directory, full=full, workers=workers or cores())
    console.tell(f"{directory}: {manifest.counts.written} rows in {len(manifest.shards)} shards, all good")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@app.command()
def export(
    directory: FolderArgument,
    to: Annotated[str, typer.Option("--to", help="`trl`, `axolotl`, `parquet` or `jsonl`.")],
    out: Annotated[str, typer.Option(help="Folder or URL to write; must not exist or be empty.")],
    loss_on: Annotated[
        str | None,
        typer.Option(
            help="Labels for trl and axolotl: `completion` (default), `answer`, or a comma list of the regions "
            "`prompt`, `cot`, `tag`, `key`, `eos`."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is in --out once the export is complete.")] = False,
) -> None:
    """Write a prepared folder for another trainer, or as plain files.

    Example: `sftkey-data export data/gsm8k --to trl --loss-on answer --out data/gsm8k-trl`
    """
    from sftkey_data.export.formats import export as run_export

    done = run_export(directory, out, to=to, loss_on=loss_on, overwrite=overwrite)
    labels = f", loss on {done.target_tokens} of {done.tokens} tokens ({', '.join(done.regions)})"
    console.tell(f"{out}: {done.rows} examples in {len(done.files)} files{labels if done.regions else ''}")


def main() -> None:
    """Console script. Torch is hidden from this process: transformers would load it, and nothing here needs it."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are processes; see --workers
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # the same for fastokens
    console.run_program(app)


if __name__ == "__main__":
    main()
