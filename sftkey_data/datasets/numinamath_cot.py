r"""NuminaMath-CoT: 860 thousand problems from school to olympiad; the Key is the last box of the solution.

Schema: `source`, `problem`, `solution`, `messages` (the problem and the solution as two turns). A solution without a
`\boxed{…}`, as proofs are, is rejected by design, as `missing_key`. Boxes inside the CoT are unwrapped.
Source: Li et al. 2024, "NuminaMath"; hub id AI-MO/NuminaMath-CoT. Licence: Apache-2.0.
"""

from sftkey_data.datasets._keys import boxed_key
from sftkey_data.extract import Parts, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "AI-MO/NuminaMath-CoT"
COLUMNS = ("problem", "solution")
EXPECTED_REJECTS = ("missing_key",)


def extract(row: Row) -> Parts:
    """The Key is the last box; the CoT is the whole solution, boxes unwrapped."""
    solution = text(row, "solution")
    key = boxed_key(solution, "solution")
    return Parts(prompt=text(row, "problem"), cot=unwrap(solution), key=key, answer_type="math")
