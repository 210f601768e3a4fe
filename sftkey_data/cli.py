"""`sftkey-data`: raw chain-of-thought datasets in, Arrow shards with exact Key spans out."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sftkey_data import console
from sftkey_data.errors import SFTKeyError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
app.info.help = __doc__

InputOption = Annotated[
    list[str] | None, typer.Option("--input", help="File, URL or hub id (`org/name:subset`); repeatable.")
]
SplitOption = Annotated[str | None, typer.Option(help="Split to read from a hub id, or the label of a file's rows.")]
TemplateOption = Annotated[str, typer.Option(help="Built-in template or a .toml file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE option of a generated set; repeatable.")]


@app.command("list")
def list_datasets() -> None:
    """List the built-in datasets: name, description, default input, columns or options.

    Example: `sftkey-data list`
    """
    from sftkey_data.registry import builtin_names, load_dataset

    for name in builtin_names():
        dataset = load_dataset(name)
        typer.echo(f"{name}\t{dataset.description}")
        if dataset.options is None:
            typer.echo(f"\tinput {dataset.default_input}; columns {', '.join(dataset.columns)}")
            continue
        for option, field in dataset.options.model_fields.items():
            typer.echo(f"\t--set {option}={field.default}\t{field.description}")


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="Built-in dataset, ./mine.py or ./mine.toml.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.")],
    inputs: InputOption = None,
    split: SplitOption = None,
    tokenizer: Annotated[str | None, typer.Option(help="Folder or hub name; without it, only text columns.")] = None,
    template: TemplateOption = "sftkey",
    straddle: Annotated[
        str, typer.Option(help="Tokens that touch the Key: `cover` (theirs is the Key) or `strict`.")
    ] = "cover",
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many rows.")] = None,
    max_reject_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="More rejects fail the build.")] = 0.05,
    options: SetOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is in --out once the build is complete.")] = False,
) -> None:
    """Build a prepared folder: shards, manifest, rejects, card. Running it again after an interruption resumes.

    Example: `sftkey-data build gsm8k --input train.jsonl --tokenizer Qwen/Qwen2.5-0.5B --out data/gsm8k`
    """
    from sftkey_data.build import build as run_build

    values = locals()
    names = ("source", "split", "tokenizer", "template", "straddle", "limit", "max_reject_rate")
    config = _config({name: values[name] for name in names}, inputs, options)
    manifest = run_build(config, out, overwrite=overwrite)
    counts = manifest.counts
    typer.echo(f"{out}: {counts.rows_read} read, {counts.written} written, {counts.rejected} rejected")
    for reason, n in manifest.rejects.items():
        typer.echo(f"  rejected {reason}: {n}")


@app.command()
def show(
    source: Annotated[str, typer.Argument(help="Prepared folder, or a source as for `build`.")],
    num: Annotated[int, typer.Option(min=1, help="How many examples.")] = 3,
    wanted: Annotated[str | None, typer.Option("--id", help="The example with this id.")] = None,
    inputs: InputOption = None,
    split: SplitOption = None,
    template: TemplateOption = "sftkey",
    options: SetOption = None,
) -> None:
    """Show examples in colour by region: tokens of a prepared folder, text of a source.

    Example: `sftkey-data show data/gsm8k --num 2`
    """
    from rich.console import Console

    from sftkey_data import show as shows

    output = Console(soft_wrap=True, highlight=False)
    if Path(source).is_dir():
        examples = list(shows.show_folder(Path(source), num, wanted))
    elif wanted is not None:
        raise SFTKeyError(f"--id needs a prepared folder, and {source} is none")
    else:
        config = _config({"source": source, "split": split, "template": template}, inputs, options)
        examples = list(shows.show_source(config, num))
    output.print(shows.legend())
    for example in examples:
        output.print(example)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="Prepared folder.")],
    full: Annotated[bool, typer.Option("--full", help="Encode every row again and compare.")] = False,
) -> None:
    """Check hashes, spans and the decoded Keys; exit 1 and the row if anything is off.

    Example: `sftkey-data check data/gsm8k --full`
    """
    from sftkey_data.check import check as run_check

    manifest = run_check(directory, full=full)
    typer.echo(f"{directory}: {manifest.counts.written} rows in {len(manifest.shards)} shards, all good")


def _config(values: dict[str, Any], inputs: list[str] | None, options: list[str] | None) -> Any:
    from sftkey_data.config import validate
    from sftkey_data.plan import BuildConfig

    values |= {"inputs": tuple(inputs or ()), "options": dict(map(_assignment, options or ()))}
    return validate(values, BuildConfig, where="sftkey-data")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SFTKeyError(f"--set {text!r}: expected NAME=VALUE")
    return name, value


def main() -> None:
    """Console script. Torch is hidden from this process: transformers would load it, and nothing here needs it."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    console.run(app)


if __name__ == "__main__":
    main()
