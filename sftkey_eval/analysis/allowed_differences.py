"""Which differences between two runs a reader accepts: each field is a flag of `report` and of `compare`."""

from dataclasses import dataclass
from typing import Annotated

from sftkey_data.options import Option, Panel


@dataclass(frozen=True, slots=True)
class Allowed:
    """Differences between two runs that the reader asked to accept."""

    template: Annotated[
        bool,
        Option(flag="--allow-different-template", help="Pair runs of different templates.", panel=Panel.SAFETY),
    ] = False
    prompts: Annotated[
        bool, Option(flag="--allow-different-prompts", help="Pair runs with different prompts.", panel=Panel.SAFETY)
    ] = False
