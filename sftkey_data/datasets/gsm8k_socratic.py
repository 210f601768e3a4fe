"""GSM8K with Socratic sub-questions: every step of the solution answers a question of its own.

Schema: `question`; each line of `answer` is `sub-question ** step`, with marks such as `<<48/2=24>>` in the step; the
last line is `#### 72`. The CoT puts each step after its question, without the `**`.
Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems"; hub id openai/gsm8k, subset `socratic`.
Licence: MIT.
"""

import re

from sftkey_data.datasets import gsm8k
from sftkey_data.extract import Parts, Row

INPUT = "openai/gsm8k:socratic"
COLUMNS = gsm8k.COLUMNS

_SEPARATOR = re.compile(r"^([^\n]*?) ?\*\* ", re.MULTILINE)  # the first of a line; a later ** may be a power


def extract(row: Row) -> Parts:
    """As GSM8K; the marks between sub-questions and steps become a space."""
    parts = gsm8k.extract(row)
    return parts._replace(cot=_SEPARATOR.sub(r"\1 ", parts.cot))
