"""The digest of a verdicts file is over every value of every row, in the order of the columns."""

import hashlib

import pytest

from sftkey_data.guards.row_digest import add_rows

ROWS = [{"id": "a", "correct": True, "choices": ["x"]}, {"id": "b", "correct": False, "choices": None}]


def digest(rows: list[dict[str, object]], columns: list[str]) -> str:
    total = hashlib.sha256(b"{}")
    add_rows(total, rows, columns)
    return total.hexdigest()


def test_it_is_that_of_the_values_as_json() -> None:
    assert digest(ROWS, ["id", "correct"]) == hashlib.sha256(b'{}["a", true]["b", false]').hexdigest()


@pytest.mark.parametrize("changed", [{"id": "c"}, {"correct": True}, {"choices": []}], ids=str)
def test_another_value_is_another_digest(changed: dict[str, object]) -> None:
    columns = ["id", "correct", "choices"]
    assert digest([ROWS[0], ROWS[1] | changed], columns) != digest(ROWS, columns)
