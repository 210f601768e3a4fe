"""Which columns of a completions file hold what: the field flags. It imports nothing heavy, as `--help` needs it."""

from dataclasses import dataclass
from typing import Annotated

from sftkey_data.options import Option

CHOICES = "choices"
COLUMN = "Column of the completions file; a.0.b for one within lists and objects."  # help of a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which column of a completions file holds what, see `lookup`.

    `choices` None means the column `choices` where there is one.
    """

    completion: Annotated[str, Option(flag="--completion-field", help=COLUMN)] = "completion"
    gold: Annotated[str, Option(flag="--gold-field", help=COLUMN)] = "gold"
    id: Annotated[str, Option(flag="--id-field", help=COLUMN)] = "id"
    choices: Annotated[
        str | None,
        Option(
            flag="--choices-field",
            help="Column with the list of option texts; default: choices, where the file has it.",
        ),
    ] = None
    finish_reason: Annotated[
        str, Option(flag="--finish-reason-field", help="Column with stop or length, where the file has it.")
    ] = "finish_reason"
