"""What every program has: `-h`, `--version`, shell completion, verbs with short help."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sftkey_data import __version__
from sftkey_data.command_line.verb import Verb, verb_of_one
from sftkey_data.console import tell


def make_program(name: str, says: str, *, group: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A program without verbs yet; give it some with `verb_of`.

    Args:
        name: As it is called at the terminal.
        says: What its help begins with.
        group: What finds its verbs.
    """
    app = typer.Typer(
        name=name,
        cls=group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=says,
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            tell(f"{name} {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
        ] = False,
    ) -> None:
        pass

    app.info.help = says
    return app


def verb_of(
    app: typer.Typer, name: str | None = None, *, epilog: str | None = None, several: str | None = None
) -> Callable[[Any], Any]:
    """Decorator that makes a function a verb of a program, by its own name or another.

    Args:
        app: The program.
        name: None: that of the function.
        epilog: The end of its help.
        several: Of a verb with one argument: what does it for more of them.
    """
    return app.command(name, cls=Verb if several is None else verb_of_one(several), epilog=epilog)
