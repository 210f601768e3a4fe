"""AQuA-RAT: algebra word problems with five options and a rationale.

Schema (subset `raw`, the same as the release's JSON lines): `question`, `options` (five texts such as `A)21`),
`rationale`, `correct` (a letter).
Source: Ling et al. 2017, "Program Induction by Rationale Generation: Learning to Solve and Explain Algebraic Word
Problems"; hub id deepmind/aqua_rat. Licence: Apache-2.0.
"""

import re

from sftkey_data.extract import Parts, Reject, Row, text
from sftkey_data.extract.multiple_choice import ChoiceOptions, choice_index, choice_parts, string_list

INPUT = "deepmind/aqua_rat:raw"
COLUMNS = ("question", "options", "rationale", "correct")
Options = ChoiceOptions

_OPTION = re.compile(r"\s*([A-E])\s*\)\s*(?:\1\)\s*)?(.*)", re.DOTALL)  # some repeat it: `A)A)59`


def extract(row: Row, options: ChoiceOptions) -> Parts:
    """The rationale is the CoT; options lose their `A)`."""
    labels, texts = _split(string_list(row["options"], "options"))
    index = choice_index(text(row, "correct"), labels)
    return choice_parts(text(row, "question"), text(row, "rationale"), texts, index, options)


def _split(options: list[str]) -> tuple[list[str], list[str]]:
    found = [_OPTION.fullmatch(option) for option in options]
    labels = [option[1] if option else "" for option in found]
    if labels != list("ABCDE"[: len(options)]):
        raise Reject("wrong_choices", f"options must read 'A)…', 'B)…', …, found {options}")
    return labels, [option[2] for option in found if option]
