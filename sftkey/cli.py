"""`sftkey`: the three programs under one name, as `sftkey data build`, and the demo."""

import sftkey_data.starting.quiet_imports  # noqa: F401 - before what takes long to import

# isort: split
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sftkey_data import console
from sftkey_data.command_line.program import make_program, verb_of
from sftkey_data.command_line.usual_options import Workers
from sftkey_data.extras import require
from sftkey_data.options import Panel

PROGRAMS = {
    "data": "Raw datasets in, prepared folders with exact Key spans out; as `sftkey-data`.",
    "train": "Train in stages, with the loss where the recipe puts it; as `sftkey-train`.",
    "eval": "Format validity and answer accuracy as two numbers; as `sftkey-eval`.",
}


class Programs(TyperGroup):
    """Own verbs and the programs, of which one is imported when it is called, not to be listed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        listed = {name: TyperGroup(name=name, help=says) for name, says in PROGRAMS.items()}
        self.commands = {**listed, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As typer does it; a shell that completes comes this way too."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, typer.main.get_command(_program(name)) if name in PROGRAMS else command, rest


def _program(name: str) -> typer.Typer:
    if name == "data":
        from sftkey_data.cli import app as data
        from sftkey_data.cli import without_torch

        without_torch()
        return data
    if name == "train":
        from sftkey_train.cli import app as train

        return train
    from sftkey_eval.cli import app as evaluation

    return evaluation


app = make_program("sftkey", "Data, training and evaluation for answer-focused fine-tuning.", group=Programs)


@verb_of(app)
def demo(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A minute: one seed, few steps; the path and no result.", rich_help_panel=Panel.SPEED
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Run a small study on generated data, below ./demo: data, trainings, scores, report.

    A model of 0.1 million parameters learns sums from scratch; from its stage 1 start the paper's stage 2, the
    equal-budget control, and a weight on the Key that falls. The same command goes on after a stop.

    Writes demo/study/study.html (with --quick demo/quick/study.html), and links to what the documentation goes on
    with: demo/tokenizer, demo/train, demo/test, demo/models/ARM. The study file is one of the ready recipes.

    Example: `sftkey demo --quick`
    """
    require("demo", "train", "torch", "matplotlib")
    require("demo", "eval", "lm_eval", "scipy", "jinja2")
    from sftkey.demo import run_demo

    run_demo(quick=quick, workers=workers)


def main() -> None:
    """The console script."""
    console.run_program(app)


if __name__ == "__main__":
    main()
