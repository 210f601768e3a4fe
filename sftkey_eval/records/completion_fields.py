"""Which columns of a completions file hold what: the field flags. It imports nothing heavy, as `--help` needs it."""

from dataclasses import dataclass
from typing import Annotated

from sftkey_data.options import Option, Panel

CHOICES = "choices"
COLUMN = "Of the file; also a.0.b."  # help of a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which column of a completions file holds what, see `lookup`.

    `choices` None means the column `choices` where there is one.
    """

    completion: Annotated[str, Option(flag="--completion-field", metavar="COLUMN", help=COLUMN, panel=Panel.IN)] = (
        "completion"
    )
    gold: Annotated[str, Option(flag="--gold-field", metavar="COLUMN", help=COLUMN, panel=Panel.IN)] = "gold"
    id: Annotated[str, Option(flag="--id-field", metavar="COLUMN", help=COLUMN, panel=Panel.IN)] = "id"
    choices: Annotated[
        str | None,
        Option(
            flag="--choices-field",
            metavar="COLUMN",
            help="The list of option texts [default: choices, where it is]",
            panel=Panel.IN,
            rare=True,
        ),
    ] = None
    finish_reason: Annotated[
        str,
        Option(
            flag="--finish-reason-field",
            metavar="COLUMN",
            help="With stop or length, where it is.",
            panel=Panel.IN,
            rare=True,
        ),
    ] = "finish_reason"
