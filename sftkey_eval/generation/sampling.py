"""How tokens are chosen when a model is asked; each field is a flag and a part of the run record."""

from dataclasses import dataclass
from typing import Annotated

from sftkey_data.options import Option, Panel

SAMPLING = "sampling"
"""The part of the run record with all that decides the text, given model and prompt."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy, `top_p` 1 and `top_k` 0 cut nothing off."""

    max_new_tokens: Annotated[
        int,
        Option(help="Limit per completion.", min=1, record=SAMPLING, panel=Panel.GENERATION),
    ] = 512
    temperature: Annotated[float, Option(help="0 is greedy.", min=0, record=SAMPLING, panel=Panel.GENERATION)] = 0.0
    top_p: Annotated[
        float,
        Option(
            help="Sample from the likeliest tokens that hold this share; 1: from all.",
            above=0,
            max=1,
            record=SAMPLING,
            panel=Panel.GENERATION,
            rare=True,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        Option(
            help="Sample from the likeliest tokens, so many; 0: from all.",
            min=0,
            record=SAMPLING,
            panel=Panel.GENERATION,
            rare=True,
        ),
    ] = 0
