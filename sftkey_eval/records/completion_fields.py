"""Which columns of a completions file hold what: the field flags. It imports nothing heavy, as `--help` needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sftkey_data.options import Option, Panel

CHOICES, ID, PROMPT, QUESTION = "choices", "id", "prompt", "question"
COLUMN = "Of the file; also a.0.b."  # help of a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which column of a completions file holds what, see `lookup`.

    `choices` None means the column `choices` where there is one, `id` None the column `id` or the row's number, and
    `prompt` None the column `prompt` or `question`.
    """

    completion: Annotated[str, Option(flag="--completion-field", metavar="COLUMN", help=COLUMN, panel=Panel.IN)] = (
        "completion"
    )
    gold: Annotated[str, Option(flag="--gold-field", metavar="COLUMN", help=COLUMN, panel=Panel.IN)] = "gold"
    id: Annotated[
        str | None,
        Option(flag="--id-field", metavar="COLUMN", help="[default: id, or the row's number]", panel=Panel.IN),
    ] = None
    golds: Annotated[
        Path | None,
        Option(flag="--golds", metavar="FILE|DIR", help="Golds by id: a file, or prepared data.", panel=Panel.IN),
    ] = None
    prompt: Annotated[
        str | None,
        Option(
            flag="--prompt-field",
            metavar="COLUMN",
            help="The question [default: prompt or question, where it is]",
            panel=Panel.IN,
            rare=True,
        ),
    ] = None
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


USUAL = (ID, Fields().completion, Fields().gold)
"""What the columns are called where nobody says."""
