"""What several datasets share: a Key marked by a box."""

from sftkey_data.extract import Reject
from sftkey_data.format.boxes import find_boxes, unwrap


def boxed_key(text: str, column: str) -> str:
    r"""The content of the last closed box.

    Of several that differ too, unlike in a mapping of a user's own: a solution boxes a guess or a step before the
    answer, and MATH's own evaluation, which these sets follow, reads the last.

    Raises:
        Reject: `missing_key`, naming the column.
    """
    boxes = find_boxes(text)
    if not boxes:
        raise Reject("missing_key", f"{column} must hold a closed \\boxed{{…}}, found none")
    return unwrap(text[boxes[-1].content_start : boxes[-1].content_end])
