"""The verb `push`, which every program has for what it writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sftkey_data import console
from sftkey_data.command_line.program import verb_of
from sftkey_data.flags import takes_options
from sftkey_data.publish.hub_push import Pushed, PushOptions, push


def add_push(app: typer.Typer, what: str, example: str, pushed: Callable[[Path], Pushed]) -> None:
    """Give a program the verb.

    Args:
        app: The program.
        what: It pushes, for the help.
        example: Of its arguments.
        pushed: What of a folder goes to the hub; raises where the folder is none of the program's.
    """

    def push_folder(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help=f"{what}.", rich_help_panel="What goes in")],
        options: PushOptions,
    ) -> None:
        console.tell(json.dumps(push(pushed(folder), options)))

    push_folder.__doc__ = f"""Put it on the Hugging Face hub, with a card; HF_TOKEN or `hf auth login` says who you are.

    Example: `{app.info.name} push {example}`
    """
    verb_of(app, "push")(takes_options(push_folder))
