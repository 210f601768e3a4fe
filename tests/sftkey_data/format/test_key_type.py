"""What a Key's text says of its type."""

import pytest

from sftkey_data.format.key_type import infer_answer_type, number_or


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("72", "number"),
        (" −3 ", "number"),
        ("$1,200.50", "number"),
        ("10,000,000", "number"),
        ("3/4", "number"),
        ("50%", "number"),
        (".5", "number"),
        ("3,5,7", "math"),
        ("1,2", "math"),
        ("12,345,67", "math"),
        ("1,00,000", "math"),
        ("0,123", "math"),
        ("p - q", "math"),
        (r"\frac12", "math"),
        ("B", "choice"),
        ("(C)", "choice"),
        ("Yes.", "boolean"),
        ("2020-01-05", "text"),
        ("7 apples", "text"),
    ],
)
def test_the_type_of_a_key_of_which_nothing_else_is_known(key: str, expected: str) -> None:
    assert infer_answer_type(key) == expected


def test_a_list_of_numbers_is_no_number() -> None:
    assert number_or("1,234", "math") == "number"
    assert number_or("3,5,7", "math") == "math"
