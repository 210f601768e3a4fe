r"""MATH-500: 500 problems of MATH's test set with solutions; the Key is the answer column.

Schema: `problem`, `solution`, `answer`, `subject`, `level` (int), `unique_id`. The answer is also the content of the
solution's last `\boxed{…}`; boxes inside the CoT are unwrapped.
Source: Lightman et al. 2023, "Let's Verify Step by Step", from Hendrycks et al. 2021; hub id HuggingFaceH4/MATH-500.
Licence: MIT.
"""

from sftkey_data.extract import Parts, Row, text
from sftkey_data.format.boxes import unwrap

INPUT = "HuggingFaceH4/MATH-500"
SPLIT = "test"
COLUMNS = ("problem", "solution", "answer")


def extract(row: Row) -> Parts:
    """The solution with its boxes unwrapped, and the answer as written."""
    return Parts(
        prompt=text(row, "problem"), cot=unwrap(text(row, "solution")), key=text(row, "answer"), answer_type="math"
    )
