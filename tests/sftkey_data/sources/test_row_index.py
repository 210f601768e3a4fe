"""Rows that workers read by themselves are those that one reader hands out, cut at the same places."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import row_index
from sftkey_data.sources.pieces import Piece, cut, each_of, in_groups
from sftkey_data.sources.readers import text_size
from sftkey_data.sources.row_index import RowIndex, index_rows, run_lengths, worth_indexing
from sftkey_data.sources.source import Record, Source, find_source, read_source, set_files

ROWS = [{"a": "x" * (i % 7), "b": i, "c": None if i % 5 == 0 else "é" * (i % 3)} for i in range(50)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 20) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def indexed(source: Source, max_rows: int, max_bytes: int) -> dict[Source, RowIndex]:
    files = [source] if source.kind == "file" else set_files(source) or []
    return index_rows([(source, files)], map, max_rows, max_bytes)


def pieces_of(source: Source, max_rows: int, max_bytes: int, indices: dict[Source, RowIndex]) -> list[Piece]:
    return list(cut([source], max_rows=max_rows, max_bytes=max_bytes, limit=None, indices=indices))


def read_each(piece: Piece) -> list[tuple[int, Record]]:
    return list(piece.read())


def assert_cut_alike(source: Source, max_rows: int, max_bytes: int) -> list[Piece]:
    handed = pieces_of(source, max_rows, max_bytes, {})
    own = pieces_of(source, max_rows, max_bytes, indexed(source, max_rows, max_bytes))
    assert [(piece.number, piece.first, piece.num_rows) for piece in own] == [
        (piece.number, piece.first, piece.num_rows) for piece in handed
    ]
    expected = [read_each(piece) for piece in handed]
    assert [read_each(piece) for piece in own] == expected
    assert [rows for group in in_groups(own) for rows in each_of(group, read_each)] == expected
    for group in in_groups(own):  # of which some are done
        assert each_of(group[1::2], read_each) == [expected[piece.number] for piece in group[1::2]]
    assert not any(piece.records for piece in own)
    return own


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.parquet", "rows.csv.gz", "rows.json", "rows.arrow"])
@pytest.mark.parametrize(("max_rows", "max_bytes"), [(3, 10**9), (10**9, 20), (7, 30), (10**9, 10**9)])
def test_every_format_is_cut_as_one_reader_cuts_it(tmp_path: Path, name: str, max_rows: int, max_bytes: int) -> None:
    path = tmp_path / name
    if name == "rows.parquet":
        write_parquet(path, ROWS)
    elif name == "rows.arrow":
        table = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=9)
    elif name == "rows.csv.gz":
        path.write_bytes(gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(50))))
    elif name == "rows.json":
        path.write_text(json.dumps(ROWS))
    else:
        write_lines(path, ROWS)
    assert_cut_alike(find_source(str(path), None), max_rows, max_bytes)


@pytest.mark.parametrize("max_rows", [4, 15, 1000])
def test_pieces_of_a_set_reach_over_its_files(tmp_path: Path, max_rows: int) -> None:
    for number in range(3):
        write_parquet(tmp_path / f"train-0000{number}-of-00003.parquet", ROWS[number * 10 : number * 10 + 10], group=4)
    own = assert_cut_alike(find_source(str(tmp_path), None), max_rows, 10**9)
    assert sum(len(piece.parts) for piece in own) > len(own) or max_rows == 1000
    _, record = read_each(own[-1])[-1]
    assert (record.source, record.position) == (f"{tmp_path}[train]", 30)


@pytest.mark.parametrize("limit", [1, 8, 33])
def test_a_piece_that_a_limit_cuts_ends_there(tmp_path: Path, limit: int) -> None:
    write_parquet(tmp_path / "rows.parquet", ROWS)
    source = find_source(str(tmp_path / "rows.parquet"), None)
    pieces = list(cut([source], max_rows=7, max_bytes=10**9, limit=limit, indices=indexed(source, 7, 10**9)))
    read = [row for group in in_groups(pieces) for rows in each_of(group, read_each) for row in rows]
    assert read == list(enumerate(read_source(source)))[:limit]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=5), st.integers(1, 9), st.integers(1, 60))
def test_runs_are_those_of_a_reader_that_counts(blocks: list[list[int]], max_rows: int, max_bytes: int) -> None:
    expected, rows, num_bytes = list[int](), 0, 0
    for size in (size for block in blocks for size in block):
        rows, num_bytes = rows + 1, num_bytes + size
        if rows == max_rows or num_bytes >= max_bytes:
            expected.append(rows)
            rows = num_bytes = 0
    found = run_lengths((np.array(block, np.int64) for block in blocks), max_rows, max_bytes)
    assert list(found) == expected + [rows] * (rows > 0)


BAD_TEXT = pa.array([b"ok", b"\xff", None]).view(pa.string())
COLUMNS: dict[str, Callable[[], pa.Array]] = {
    "text": lambda: pa.array(["é", None, "abc"]),
    "large text": lambda: pa.array(["é", None, "abc"], pa.large_string()),
    "few texts": lambda: pa.array(["é", "é", "abc"]).dictionary_encode(),
    "views of text": lambda: pa.array(["é", None, "abc"], pa.string_view()),
    "no UTF-8": lambda: BAD_TEXT,
    "no UTF-8 in a list": lambda: pa.ListArray.from_arrays([0, 1, 3, 3], BAD_TEXT),
    "a day that Python has not": lambda: pa.array([0, 10**9, None], pa.date32()),
    "numbers": lambda: pa.array([1.5, None, 3.0], pa.float32()),
    "bytes": lambda: pa.array([b"\xff", None, b"abc"]),
    "objects": lambda: pa.array([{"x": "é"}, None, {"x": "abc"}]),
    "decimals": lambda: pa.array([None, 1, 2], pa.decimal128(5, 2)),
    "nothing": lambda: pa.nulls(3),
    "days": lambda: pa.array([date(2020, 1, 1)] * 3),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_parquet_are_measured_as_their_rows_are(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"first": ["a", "bc", "def"], "second": COLUMNS[kind]()})
    pq.write_table(table, path)
    source = find_source(str(path), None)
    (block,) = row_index._FileGroups(source, row_index._row_groups(source)).blocks()
    sizes = row_index.measure_block(block).sizes.tolist()
    assert sizes == [text_size(record.row) for record in read_source(source)]


@pytest.mark.parametrize("start", [0, 1, 19, 20, 21, 49, 50, 60])
def test_parquet_is_read_from_any_row_on(tmp_path: Path, start: int) -> None:
    write_parquet(tmp_path / "rows.parquet", ROWS)
    source = find_source(str(tmp_path / "rows.parquet"), None)
    assert list(read_source(source, start)) == list(read_source(source))[start:]


def test_only_row_groups_that_hold_wanted_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [{"a": os.urandom(64).hex()} for _ in range(40)], group=20)
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)  # the first group is damaged
    path.write_bytes(content)
    source = find_source(str(path), None)
    assert len(list(read_source(source, 20))) == 20
    with pytest.raises(SFTKeyError, match="not a readable Parquet file"):
        list(read_source(source, 19))


def test_pieces_of_one_row_group_are_read_in_eight_parts(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rows.parquet", [{"a": str(i)} for i in range(64)], group=64)
    source = find_source(str(tmp_path / "rows.parquet"), None)
    groups = list(in_groups(pieces_of(source, 2, 10**9, indexed(source, 2, 10**9))))
    assert [len(group) for group in groups] == [4] * 8


def test_streams_are_worth_it_where_many_can_be_read_at_a_time(tmp_path: Path) -> None:
    for number in range(5):
        write_lines(tmp_path / f"{number}.jsonl.gz", ROWS)
    write_parquet(tmp_path / "rows.parquet", ROWS)
    streams = [find_source(str(tmp_path / f"{number}.jsonl.gz"), None) for number in range(5)]
    parquet = find_source(str(tmp_path / "rows.parquet"), None)
    assert [source for source, _ in worth_indexing([*streams, parquet], 4)] == [*streams, parquet]
    assert [source for source, _ in worth_indexing([*streams, parquet], 3)] == [parquet]
    assert worth_indexing(streams[:3], 100) == []
    (tmp_path / "0.jsonl.gz").write_bytes(os.urandom(10**6))
    assert worth_indexing(streams, 100) == []  # one is nearly all there is


def test_files_that_arrow_reads_by_threads_are_left_to_the_parent(tmp_path: Path) -> None:
    for name in ("a.arrow", "b.arrow"):
        table = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_file(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    files = [find_source(str(tmp_path / name), None) for name in ("a.arrow", "b.arrow")]
    assert worth_indexing(files * 4, 100) == []


def test_reading_parquet_begins_no_thread(tmp_path: Path) -> None:
    """A thread of Arrow's would not be there in a worker that is forked later."""
    write_parquet(tmp_path / "rows.parquet", [{f"c{i}": str(i) for i in range(9)}] * 1000, group=100)
    code = (
        "import os, sys\nfrom sftkey_data.sources import row_index\n"
        "from sftkey_data.sources.source import find_source, read_source\n"
        "before, source = len(os.listdir('/proc/self/task')), find_source(sys.argv[1], None)\n"
        "assert len(list(read_source(source))) == 1000\n"
        "assert row_index.index_rows([(source, [source])], map, 9, 9)[source].num_rows == 1000\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    if Path("/proc/self/task").is_dir():
        command = [sys.executable, "-c", code, str(tmp_path / "rows.parquet")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0"
