r"""MATH: competition problems whose solution marks the answer in a box; the Key is the last box's content.

Schema: `problem`, `solution`; the last balanced `\boxed{…}` of the solution holds the answer. Boxes inside the CoT are
unwrapped, so that a completion marks its answer once.
Source: Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset". Licence: MIT.
"""

from sftkey_data.boxes import find_boxes, unwrap
from sftkey_data.extract import Parts, Reject, Row, text

INPUT = "EleutherAI/hendrycks_math:algebra"
COLUMNS = ("problem", "solution")


def extract(row: Row) -> Parts:
    """The Key is the last box; the CoT is the whole solution, boxes unwrapped."""
    solution = text(row, "solution")
    boxes = find_boxes(solution)
    if not boxes:
        raise Reject("missing_key", "solution must hold a closed \\boxed{…}, found none")
    key = solution[boxes[-1].content_start : boxes[-1].content_end]
    return Parts(prompt=text(row, "problem"), cot=unwrap(solution), key=unwrap(key), answer_type="math")
