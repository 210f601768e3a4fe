"""A small packed file that unpacks to very much is one line of refusal, read no further than a row may be long."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import row_bounds
from sftkey_data.sources.source import Source, read_source
from sftkey_eval.records.row_files import read_row_file

ROW = '{"question": "q", "answer": "a"}\n'
LONG = f'{{"question": "{"q" * 5000}"}}\n'
FILES = {
    "rows.jsonl.gz": ROW + LONG,
    "rows.csv.gz": f"question,answer\nq,{'a' * 5000}\n",
    "rows.tsv.gz": f"question\tanswer\nq\t{'a' * 5000}\n",
    "head.csv.gz": f"{'question,' * 800}answer\nq,a\n",
    "blank.csv.gz": f"\n{' ' * 5000}\n",
    "rows.json.gz": json.dumps([{"question": "q", "answer": "a" * 70} for _ in range(100)]),
}
SAID = {
    "rows.jsonl.gz": " line 2: longer than 0 MiB, expected one row",
    "rows.json.gz": ": unpacks to more than 0 MiB, too much to read whole: unpack it first",
}


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_bounds, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(row_bounds, "MAX_UNPACKED_LIST_BYTES", 5000)


def of_a_build(path: Path) -> object:
    return list(read_source(Source(str(path), "file", "train")))


def of_completions(path: Path) -> object:
    return list(read_row_file(path, "completions"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [of_a_build, of_completions])
def test_a_row_that_is_too_long_is_refused_with_its_place(
    read: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(FILES[name].encode()))
    with pytest.raises(SFTKeyError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert SAID.get(name, ": longer than 0 MiB, expected one row") in str(caught.value)


@pytest.mark.parametrize("read", [of_a_build, of_completions])
def test_a_row_group_that_unpacks_to_very_much_is_refused_by_its_sizes(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"question": ["q" * 2_000_000], "answer": ["a"]}), path, compression="zstd")
    with pytest.raises(SFTKeyError, match=r"^\S+ row group 0: \d+ bytes unpack to 2\d{6}, expected at most 0 MiB"):
        read(path)


def test_a_row_group_that_packs_as_text_does_is_read_whatever_its_size(tmp_path: Path) -> None:
    texts = [str(number) for number in range(5000)]
    pq.write_table(pa.table({"question": texts, "answer": texts}), tmp_path / "rows.parquet", compression="zstd")
    assert len(list(read_source(Source(str(tmp_path / "rows.parquet"), "file", "train")))) == 5000


def test_a_list_that_is_not_packed_is_as_long_as_it_lies_there(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(FILES["rows.json.gz"])
    assert len(list(read_source(Source(str(tmp_path / "rows.json"), "file", "train")))) == 100
