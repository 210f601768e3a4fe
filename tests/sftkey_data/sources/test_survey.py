"""A survey counts what reading the file finds, wherever its leaves begin."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import row_bounds
from sftkey_data.sources.source import Source, count_records, find_source
from sftkey_data.sources.survey import start_surveys, survey_threads

PARTS = st.lists(st.sampled_from(["\n", "\n\n", " ", "\t\r", "\x1f", "{}", '{"a": 1}', '{"a": "é"}', "x" * 40]))


def source_of(folder: Path, content: bytes, name: str = "rows.jsonl") -> Source:
    (folder / name).write_bytes(content)
    return find_source(str(folder / name), None)


@settings(deadline=None, max_examples=300)
@given(PARTS, st.integers(1, 64))
def test_lines_and_rows_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], leaf_bytes: int
) -> None:
    content = "".join(parts).encode()
    source = source_of(tmp_path_factory.mktemp("survey"), content)
    index = next(start_surveys([source], leaf_bytes=leaf_bytes)).lines
    assert index is not None
    assert index.num_rows == count_records(source)
    lines = _lines(content)
    found = [index.lines(leaf) for leaf in range(len(index.rows))]
    ends = [int(end) for ends, _ in found for end in ends]
    assert ends == np.cumsum([len(line) for line in lines]).tolist()
    assert [bool(row) for _, rows in found for row in rows] == [bool(line.strip()) for line in lines]
    assert [int(rows.sum()) for _, rows in found] == index.rows.tolist()


def _lines(content: bytes) -> list[bytes]:
    return [line + b"\n" for line in content.split(b"\n")[:-1]] + [line for line in content.split(b"\n")[-1:] if line]


def test_many_threads_find_what_one_finds(tmp_path: Path) -> None:
    content = b"".join(b'{"a": %d}\n%s' % (number, b" \n" * (number % 3)) for number in range(5_000))
    source = source_of(tmp_path, content)
    expected = next(start_surveys([source], leaf_bytes=100))
    with survey_threads(3) as run:
        found = next(start_surveys([source], run, leaf_bytes=100))
    assert (found.digest, found.num_rows) == (expected.digest, 5_000)
    assert found.lines is not None
    assert expected.lines is not None
    assert found.lines.rows.tolist() == expected.lines.rows.tolist()
    assert found.lines.breaks.tolist() == expected.lines.breaks.tolist()


def test_a_line_that_does_not_end_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_bounds, "MAX_ROW_BYTES", 1000)
    source = source_of(tmp_path, b'{"a": 1}\n' + b"x" * 2000)
    with pytest.raises(SFTKeyError, match=r"rows\.jsonl at byte 9: longer than"):
        next(start_surveys([source], leaf_bytes=100))


@pytest.mark.parametrize(("name", "rows"), [("rows.tsv", 3), ("rows.csv", None), ("rows.jsonl", 2)])
def test_rows_are_counted_where_lines_say_how_many_there_are(tmp_path: Path, name: str, rows: int | None) -> None:
    survey = next(start_surveys([source_of(tmp_path, b"a\nb\n\n", name)]))
    assert (survey.num_rows, survey.lines is None) == (rows, name != "rows.jsonl")
