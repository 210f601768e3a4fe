"""`sftkey-data`: raw chain-of-thought datasets in, Arrow shards with exact Key spans out."""

import sftkey_data.starting.quiet_imports  # noqa: F401 - before what takes long to import

# isort: split
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftkey_data import console
from sftkey_data.building.build_config import BuildConfig, TokenizerOptions, is_small
from sftkey_data.command_line.program import make_program, verb_of
from sftkey_data.command_line.usual_options import COUNT, Engine, OutFolder, Overwrite, Workers
from sftkey_data.errors import SFTKeyError
from sftkey_data.flags import takes_options
from sftkey_data.options import Panel
from sftkey_data.publish.push_verb import add_push
from sftkey_data.view.show_options import SourceOptions

if TYPE_CHECKING:
    from sftkey_data.prepared.manifest import Manifest
    from sftkey_data.publish.hub_push import Pushed

app = make_program("sftkey-data", __doc__)

FolderArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="Prepared folder, local or a URL.", rich_help_panel=Panel.IN)
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, one object a line.", rich_help_panel=Panel.OUT)]


@verb_of(app, "list")
def list_datasets(as_json: Json = False) -> None:
    """List the built-in datasets: name, description, default input, columns, rejects by design and options.

    Example: `sftkey-data list`
    """
    from sftkey_data.view.dataset_list import dataset_json, dataset_lines, datasets

    for name, dataset in datasets():
        console.tell(dataset_json(name, dataset) if as_json else dataset_lines(name, dataset))


@verb_of(app, several="a file of [[source]] tables, mix.toml, names several sources")
@takes_options
def build(
    config: BuildConfig,
    out: OutFolder,
    workers: Workers = None,
    engine: Engine = "local",
    overwrite: Overwrite = False,
) -> None:
    """Build a prepared folder: shards, manifest, rejects, card. The same command resumes.

    Example: `sftkey-data build gsm8k --input train.jsonl --tokenizer Qwen/Qwen2.5-0.5B --out data/gsm8k`
    """
    file = Path(config.tokenizer or "") / "tokenizer.json"
    if config.tokenizer is not None and not (config.chat or is_small(config)) and file.is_file():
        from sftkey_data.tokens.fastokens_prefetch import prefetch

        prefetch(config.tokenizer)  # before anything else, as it takes longest
    from sftkey_data.building.build import build as run_build
    from sftkey_data.building.machinery import Machinery
    from sftkey_data.extras import check_engine
    from sftkey_data.process_pool import cores

    machinery = Machinery(workers or cores(), check_engine(engine))
    manifest = run_build(config, out, overwrite=overwrite, machinery=machinery)
    _tell_build(config, out, manifest)
    counts = manifest.counts
    done = {"out": out, "rows_read": counts.rows_read, "written": counts.written, "rejected": counts.rejected}
    console.tell(json.dumps({**done, "held_out": manifest.held_out, "rejects": manifest.rejects}))
    console.next_command("sftkey-data", "check", out, "--full")


def _tell_build(config: BuildConfig, out: str, manifest: "Manifest") -> None:
    """What became of the rows, and what the reader may not expect."""
    from sftkey_data.prepared.left_out import left_out_lines
    from sftkey_data.prepared.manifest import TOKENIZER_FOLDER
    from sftkey_data.tokens.tokenizer_copy import has_chat_template

    counts = manifest.counts
    held = f", {manifest.held_out} held out in {out.rstrip('/')}-holdout" if manifest.held_out else ""
    lines = [f"{out}: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected{held}"]
    lines += [f"  rejected {reason}: {n}" for reason, n in manifest.rejects.items()]
    lines += [f"  {source}: {n} written, {n / counts.written:.1%}" for source, n in manifest.by_source.items()]
    if odd := manifest.statistics["odd_numbers"]:
        first = manifest.statistics["first_odd_number"]
        lines.append(f"warning: {odd} of {counts.written} Keys of type number are more than a number; {first}")
    lines += [f"note: {line}" for line in left_out_lines(manifest)]
    if config.tokenizer is not None and not config.chat and has_chat_template(f"{out.rstrip('/')}/{TOKENIZER_FOLDER}"):
        why = "prompts stand without it: a chat model wants them as --chat writes them"
        lines.append(f"note: {config.tokenizer} has a chat template, {why}")
    for line in lines:
        console.tell(line, err=True)


@verb_of(app)
@takes_options
def show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Prepared folder (DIR or URL), or a source as for `build`.", rich_help_panel=Panel.IN
        ),
    ],
    num: Annotated[
        int | None,
        typer.Option(**COUNT, help="How many [default: 3, with --html all]", rich_help_panel=Panel.OUT),
    ] = None,
    wanted: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The example with this id.", rich_help_panel=Panel.IN)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page to filter and search a folder.", rich_help_panel=Panel.OUT),
    ] = None,
    *,
    rows: SourceOptions,
) -> None:
    """Show examples in colour by region, with the borders of their tokens where there is a tokenizer.

    Example: `sftkey-data show data/gsm8k --num 2` or `sftkey-data show data/gsm8k --html gsm8k.html`
    """
    from sftkey_data.view import show as shows
    from sftkey_data.view.next_steps import build_of_shown

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
        console.next_command("sftkey-data", *build_of_shown(source, rows))
    console.tell_in_colour([shows.legend(), *examples])


def _write_page(directory: str, file: Path, num: int | None, wanted: str | None) -> None:
    from sftkey_data.view.examples_page import write_page

    if wanted is not None:
        raise SFTKeyError("--id and --html: the page finds an id by its search, leave one of them out")
    page = write_page(directory, file, num)
    console.tell(f"{file}: {page.examples} examples, {page.rejects} rejects, {page.bytes / 1000:,.0f} kB", err=True)
    counts = {"examples": page.examples, "rejects": page.rejects, "bytes": page.bytes}
    console.tell(json.dumps({"out": str(file), **counts}))


@verb_of(app, "map")
def map_(
    rows: Annotated[
        str,
        typer.Argument(metavar="FILE|URL|HUB", help="Rows, as for `build --input`.", rich_help_panel=Panel.IN),
    ],
    split: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Split to look at, of a hub id.", rich_help_panel=Panel.IN)
    ] = None,
) -> None:
    """Look at 100 rows and propose a mapping on stdout: which column is the prompt, the CoT and the Key.

    What it cannot read of them stands in comments; the words of the file are in docs/own_dataset.md.

    Example: `sftkey-data map rows.csv > mine.toml`
    """
    from sftkey_data.proposal.proposed_mapping import proposal_text, propose

    proposal = propose(rows, split)
    console.tell(proposal_text(proposal))
    console.tell(f"{rows}: {proposal.num_read} of {proposal.num_rows} rows are read", err=True)
    console.next_with_output("mine.toml", "sftkey-data", lambda file: ("show", file, "--input", rows))


@verb_of(app)
@takes_options
def tokenizer(
    options: TokenizerOptions,
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder, or an empty one.", rich_help_panel=Panel.OUT)],
    overwrite: Overwrite = False,
) -> None:
    """Train a small byte-level BPE tokenizer on the examples of a dataset, for a model from scratch.

    Digits stand alone, and tags and line breaks join nothing around them, so that no token straddles a Key. The same
    rows give the same files. A pretrained model has a tokenizer of its own, which `build --tokenizer` takes.

    Example: `sftkey-data tokenizer --train arithmetic --set kind=sums --out tokenizer`
    """
    from sftkey_data.building.small_tokenizer import train_small_tokenizer
    from sftkey_data.view.next_steps import build_of_tokenized

    made = train_small_tokenizer(options, out, overwrite=overwrite)
    console.tell(f"{out}: {made.vocab_size} tokens, of {made.num_examples} examples", err=True)
    for reason, num in made.rejects.items():
        console.tell(f"  rejected {reason}: {num}", err=True)
    counts = {"vocab_size": made.vocab_size, "examples": made.num_examples, "rejects": made.rejects}
    console.tell(json.dumps({"out": str(out), **counts}))
    console.next_command("sftkey-data", *build_of_tokenized(options, str(out)))


@verb_of(app)
def stats(
    directory: FolderArgument,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw them, as a PNG file (extra `plot`).", rich_help_panel=Panel.OUT),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print lengths, Key share, CoT/Key ratio, straddles and reject reasons of a prepared folder.

    Example: `sftkey-data stats data/gsm8k --plot gsm8k.png`
    """
    from sftkey_data.view.folder_statistics import as_text, draw, read_statistics, statistics_json

    if plot is not None:
        from sftkey_data.extras import require

        require("stats --plot", "plot", "matplotlib")
    statistics = read_statistics(directory)
    console.tell(statistics_json(statistics) if as_json else as_text(statistics).removesuffix("\n"))
    if plot is not None:
        draw(statistics, plot)


@verb_of(app)
def check(
    directory: FolderArgument,
    full: Annotated[
        bool, typer.Option("--full", help="Encode every row again and compare.", rich_help_panel=Panel.SAFETY)
    ] = False,
    workers: Workers = None,
) -> None:
    """Check hashes, ids, spans, tokens and counts; exit 1 and the row if anything is off.

    Example: `sftkey-data check data/gsm8k --full`
    """
    from sftkey_data.process_pool import cores
    from sftkey_data.verify.check import check as run_check
    from sftkey_data.view.next_steps import recipe_of_checked

    manifest = run_check(directory, full=full, workers=workers or cores())
    rows, shards = manifest.counts.written, len(manifest.shards)
    console.tell(f"{directory}: {rows} rows in {shards} shards, all good", err=True)
    console.tell(json.dumps({"folder": directory, "rows": rows, "shards": shards, "full": full, "good": True}))
    if (words := recipe_of_checked(directory, manifest)) is not None:
        console.next_command("sftkey-train", *words, into="recipe.toml")
    else:
        console.next_command("sftkey-data", "show", directory, "--num", "2")


@verb_of(app)
def export(
    directory: FolderArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="trl|axolotl|parquet|jsonl",
            help="For which trainer, or as which files.",
            rich_help_panel=Panel.FORMAT,
        ),
    ],
    out: OutFolder,
    loss_on: Annotated[
        str | None,
        typer.Option(
            metavar="REGIONS",
            help="Labels for trl and axolotl: `completion`, `answer`, or a comma list of the regions "
            "`prompt`, `cot`, `tag`, `key`, `eos` [default: completion]",
            rich_help_panel=Panel.FORMAT,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a prepared folder for another trainer, or as plain files.

    Example: `sftkey-data export data/gsm8k --to trl --loss-on answer --out data/gsm8k-trl`
    """
    from sftkey_data.export.formats import export as run_export

    done = run_export(directory, out, to=to, loss_on=loss_on, overwrite=overwrite)
    labels = f", loss on {done.target_tokens} of {done.tokens} tokens ({', '.join(done.regions)})"
    console.tell(f"{out}: {done.rows} examples in {len(done.files)} files{labels if done.regions else ''}", err=True)
    counts = {"rows": done.rows, "files": len(done.files), "tokens": done.tokens, "target_tokens": done.target_tokens}
    console.tell(json.dumps({"out": out, "to": to, **counts, "loss_on": list(done.regions)}))
    console.tell(f"{out}/README.md says how to train on it", err=True)


def _pushed(folder: Path) -> "Pushed":
    from sftkey_data.publish.prepared_push import pushed_data

    return pushed_data(folder)


add_push(app, "Prepared folder", "data/gsm8k OWNER/gsm8k-key --private", _pushed)


def without_torch() -> None:
    """Hide torch from this process: transformers would load it, and nothing here needs it."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are processes; see --workers
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # the same for fastokens


def main() -> None:
    """The console script."""
    without_torch()
    console.run_program(app)


if __name__ == "__main__":
    main()
