"""Pieces hold every row once, wherever they are cut."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.sources import line_index
from sftkey_data.sources.line_index import LineIndex
from sftkey_data.sources.pieces import cut
from sftkey_data.sources.source import Record, Source, find_source, read_source
from sftkey_data.sources.survey import start_surveys
from sftkey_data.storage import file_bytes
from sftkey_data.storage.file_bytes import read_range

LINES = st.lists(
    st.sampled_from(
        ["", " ", "\t\r", '{"a": 1}', '  {"a": 2}', '{"a": "é\\n"}', '{"a": 3}\r', json.dumps({"a": "x" * 90})]
    )
)


def lines_of(*inputs: Source, leaf_bytes: int = 100) -> dict[Source, LineIndex]:
    surveys = zip(inputs, start_surveys(inputs, leaf_bytes=leaf_bytes), strict=True)
    return {source: survey.lines for source, survey in surveys if survey.lines is not None}


@settings(deadline=None, max_examples=200)
@given(
    LINES,
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 150),
    st.one_of(st.none(), st.integers(1, 9)),
    st.integers(1, 64),
)
def test_pieces_of_lines_are_the_rows_of_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    ended: bool,
    max_rows: int,
    max_bytes: int,
    limit: int | None,
    leaf_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n" * ended, newline="")
    source = find_source(str(path), None)
    indices = lines_of(source, leaf_bytes=leaf_bytes)
    pieces = list(cut([source], max_rows=max_rows, max_bytes=max_bytes, limit=limit, indices=indices))
    expected = list(enumerate(read_source(source)))[:limit]
    assert [row for piece in pieces for row in piece.read()] == expected
    assert [piece.number for piece in pieces] == list(range(len(pieces)))
    assert all(len(list(piece.read())) == piece.num_rows <= max_rows for piece in pieces)


def test_only_leaves_in_which_a_piece_ends_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(b'{"a": %d}\n' % number for number in range(10_000)))
    source = find_source(str(path), None)
    indices, read = lines_of(source, leaf_bytes=100), list[int]()

    def note(name: str, start: int, stop: int) -> bytes:
        read.append(start)
        return read_range(name, start, stop)

    monkeypatch.setattr(line_index, "read_range", note)
    pieces = list(cut([source], max_rows=3_000, max_bytes=10**9, limit=None, indices=indices))
    assert [piece.num_rows for piece in pieces] == [3_000, 3_000, 3_000, 1_000]
    assert len(read) == 3
    assert [start // 100 for start in read] == [(piece.stop - 1) // 100 for piece in pieces[:3]]


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 10**6])
def test_a_piece_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    path, read = tmp_path / "rows.jsonl", list[int]()
    path.write_bytes(b"".join(b'{"a": "%s"}\n' % (b"x" * (number % 50)) for number in range(500)))
    source = find_source(str(path), None)
    _, piece, _ = cut([source], max_rows=200, max_bytes=10**9, limit=None, indices=lines_of(source))

    def note(name: str, start: int, stop: int) -> bytes:
        read.append(stop - start)
        return read_range(name, start, stop)

    monkeypatch.setattr(file_bytes, "COPY_BYTES", block_bytes)
    monkeypatch.setattr(file_bytes, "read_range", note)
    rows = piece.read()
    assert next(rows) == (200, Record(str(path), 201, {"a": ""}))
    assert sum(read) <= len('{"a": ""}\n') + block_bytes
    assert [record.row for _, record in rows] == [{"a": "x" * (number % 50)} for number in range(201, 400)]
    assert sum(read) == piece.stop - piece.start


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.csv"])
def test_every_format_is_cut_alike(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [{"a": str(i)} for i in range(7)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    content = {"rows.json": json.dumps(rows), "rows.csv": "a\n" + "".join(f"{i}\n" for i in range(7))}.get(name, text)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    source = find_source(str(path), None)
    pieces = list(cut([source], max_rows=3, max_bytes=10**9, limit=None, indices=lines_of(source)))
    assert [piece.num_rows for piece in pieces] == [3, 3, 1]
    assert [record.row for piece in pieces for _, record in piece.read()] == rows


def test_generated_rows_and_several_files_are_one_numbering(tmp_path: Path) -> None:
    sources: list[Source] = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"a": 1}\n' * 3)
        sources.append(find_source(str(tmp_path / f"{name}.jsonl"), None))
    pieces = list(cut(sources, max_rows=2, max_bytes=10**9, limit=None, indices=lines_of(*sources)))
    assert [(piece.first, piece.num_rows) for piece in pieces] == [(0, 2), (2, 1), (3, 2), (5, 1)]
    generated = [Record("made", i, {"a": i}) for i in range(3)]
    assert [piece.num_rows for piece in cut(generated, max_rows=2, max_bytes=1, limit=None)] == [2, 1]
