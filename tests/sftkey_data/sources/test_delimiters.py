"""Which character separates the fields of a csv: the one its header holds most of."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources.source import find_source, read_source


def rows_of(path: Path, content: str) -> list[Any]:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return [record.row for record in read_source(find_source(str(path), None))]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"], ids=["comma", "semicolon", "bar", "tab"])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_the_header_tells_the_delimiter(tmp_path: Path, name: str, delimiter: str) -> None:
    content = delimiter.join(["question", "working", "result"]) + "\n" + delimiter.join(["q", "w", "1"]) + "\n"
    assert rows_of(tmp_path / name, content) == [{"question": "q", "working": "w", "result": "1"}]


def test_a_decimal_comma_in_a_row_is_no_delimiter(tmp_path: Path) -> None:
    content = "question;result\r\nhow much, in all?;1,5\r\n"
    assert rows_of(tmp_path / "x.csv", content) == [{"question": "how much, in all?", "result": "1,5"}]


def test_the_delimiter_and_a_line_break_may_stand_inside_quotes(tmp_path: Path) -> None:
    content = 'question;result\n"a; ""b""\nc";1\n'
    assert rows_of(tmp_path / "x.csv", content) == [{"question": 'a; "b"\nc', "result": "1"}]


def test_the_most_frequent_wins_and_a_tie_is_the_comma(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "most.csv", "a,b;c;d\n1;2;3\n") == [{"a,b": "1", "c": "2", "d": "3"}]
    assert rows_of(tmp_path / "tie.csv", "a,b;c\n1,2\n") == [{"a": "1", "b;c": "2"}]


def test_what_stands_in_a_quoted_name_is_not_counted(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "x.csv", '"a, b, or c";d\n1;2\n') == [{"a, b, or c": "1", "d": "2"}]


def test_one_column_has_a_comma_for_delimiter(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "one.csv", 'question\nq; r\n"a, b"\n') == [{"question": "q; r"}, {"question": "a, b"}]


def test_a_byte_order_mark_before_the_header_is_dropped(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "bom.csv", "\ufeffquestion;result\nq;1\n") == [{"question": "q", "result": "1"}]


def test_a_tsv_is_split_at_tabs_whatever_its_header_holds(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "x.tsv", "a;b;c\td\n1\t2\n") == [{"a;b;c": "1", "d": "2"}]


def test_a_name_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="stands twice"):
        rows_of(tmp_path / "x.csv", "a;a\n1;2\n")
