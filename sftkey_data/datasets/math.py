r"""MATH: competition problems whose solution marks the answer in a box; the Key is the last box's content.

Schema: `problem`, `level`, `type`, `solution`; the last balanced `\boxed{…}` of the solution holds the answer. Boxes
inside the CoT are unwrapped, so that a completion marks its answer once.
Source: Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset"; hub id
DigitalLearningGmbH/MATH-lighteval, all seven subjects in one; EleutherAI/hendrycks_math has a subset for each.
Licence: MIT.
"""

from sftkey_data.datasets._keys import boxed_key
from sftkey_data.extract import Parts, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "DigitalLearningGmbH/MATH-lighteval"
COLUMNS = ("problem", "solution")


def extract(row: Row) -> Parts:
    """The Key is the last box; the CoT is the whole solution, boxes unwrapped."""
    solution = text(row, "solution")
    key = boxed_key(solution, "solution")
    return Parts(prompt=text(row, "problem"), cot=unwrap(solution), key=key, answer_type="math")
