"""Options that several verbs of several programs have: one name, one place, one default, one sentence."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sftkey_data.options import LARGEST, MOST_WORKERS, Option, Panel

OutFolder = Annotated[
    str,
    typer.Option("--out", metavar="DIR|URL", help="New folder, or an empty one.", rich_help_panel=Panel.OUT),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is in --out once all is written.", rich_help_panel=Panel.SAFETY),
]
ALL_CORES = "Processes; the same result for any number [default: all cores]"
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=MOST_WORKERS, metavar="N", help=ALL_CORES, rich_help_panel=Panel.SPEED),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="Processes here, or on the cluster of $RAY_ADDRESS.",
        rich_help_panel=Panel.SPEED,
    ),
]
COUNT: Any = {"min": 1, "max": LARGEST, "metavar": "N"}
"""Of an option that says how many."""
CONFIG = "--config"
CONFIG_HELP = "TOML file with options; those given here win."
ConfigFile = Annotated[
    Path | None, Option(flag=CONFIG, metavar="FILE", help=CONFIG_HELP, panel=Panel.IN, flag_only=True)
]
"""As the field of a verb's options; `Config` is the same as a parameter of a verb."""
Config = Annotated[Path | None, typer.Option(CONFIG, metavar="FILE", help=CONFIG_HELP, rich_help_panel=Panel.IN)]
