"""Tables of columns that are made to harm: wrong offsets, sizes that lie, and little that unpacks to very much."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources import row_bounds
from sftkey_data.sources.source import Source, read_source

MIB = 2**20
only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's data is Linux's")


def rows_of(path: Path) -> list[object]:
    return [record.row for record in read_source(Source(str(path), "file", "train"))]


def write_arrow(path: Path, batch: pa.RecordBatch, compression: str | None = None) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return path


def texts_at(offsets: list[int], content: bytes) -> pa.Array:
    buffers = [None, pa.array(offsets, pa.int32()).buffers()[1], pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


@pytest.mark.parametrize("wrong", [(0, 5, 2**30), (0, 9, 5), (-7, 0, 16)], ids=["beyond", "backwards", "before"])
def test_offsets_that_point_out_of_an_arrow_file_are_refused(wrong: tuple[int, ...], tmp_path: Path) -> None:
    right = struct.pack("<3i", 0, 5, 16)
    texts = texts_at([0, 5, 16], b"x" * 16)
    for name, column in (("plain", texts), ("nested", pa.ListArray.from_arrays([0, 1, 2], texts))):
        path = write_arrow(tmp_path / f"{name}.arrow", pa.record_batch([column], ["question"]))
        assert len(rows_of(path)) == 2
        assert right in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(right, struct.pack("<3i", *wrong)))
        with pytest.raises(SFTKeyError, match="not a readable Arrow file"):
            rows_of(path)


def test_text_that_is_no_utf8_still_costs_its_row_alone(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.record_batch([texts_at([0, 1, 2], b"a\xff")], ["question"]))
    first, second = rows_of(path)
    assert first == {"question": "a"}
    assert "invalid_utf8" in repr(second)


def test_a_picture_that_cannot_be_read_is_no_picture(tmp_path: Path) -> None:
    image = pa.StructArray.from_arrays([pa.array([b"x"]), texts_at([0, 1], b"\xff")], ["bytes", "path"])
    (row,) = rows_of(write_arrow(tmp_path / "a.arrow", pa.record_batch([image], ["image"])))
    assert "invalid_utf8" in repr(row)


IN_ITS_OWN_PROCESS = """
import re, sys
from pathlib import Path
from sftkey_data.guards import memory_bound
from sftkey_data.sources.source import Source, read_source

memory_bound.SPARE_BYTES = 64 * 2**20
try:
    list(read_source(Source(sys.argv[1], sys.argv[2], "train")))
except Exception as error:
    peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    print(int(peak) // 1024, type(error).__name__, error)
"""
"""What Arrow has once asked of the machine it keeps, and could use again in the tests' process."""


def test_a_footer_that_arrow_cannot_take_apart_is_one_line() -> None:
    """Asked for the sizes of its last column, Arrow ends the process: found by fuzzing."""
    path = Path(__file__).parents[1] / "fixtures" / "wrong_histogram.parquet"
    command = [sys.executable, "-c", IN_ITS_OWN_PROCESS, str(path), "file"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"SFTKeyError {path}: not a readable Parquet file: Definition level histogram" in done.stdout


@pytest.mark.parametrize("cut", [b"\xff", b"\xe6"], ids=["no byte of UTF-8", "half a character"])
def test_a_column_whose_name_is_no_text_is_one_line(cut: bytes, tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"question": ["q"]}), sink, store_schema=False)
    (tmp_path / "a.parquet").write_bytes(sink.getvalue().replace(b"question", b"questio" + cut))
    with pytest.raises(SFTKeyError, match=r"a\.parquet: not a readable Parquet file: 'utf-8' codec"):
        rows_of(tmp_path / "a.parquet")


@only_on_linux
def test_a_packed_arrow_file_takes_no_more_memory_than_its_size_explains(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.record_batch([pa.array(["x" * (600 * MIB)])], ["question"]), "zstd")
    command = [sys.executable, "-c", IN_ITS_OWN_PROCESS, str(path), "file"]
    peak, said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(maxsplit=1)
    assert int(peak) < 400
    assert said.startswith(f"SFTKeyError {path}: takes more than 0.1 GiB of memory")


@only_on_linux
def test_a_packed_folder_that_datasets_reads_takes_no_more_memory_than_its_size_explains(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    card = "---\ndataset_info:\n  features:\n  - name: question\n    dtype: string\n---\n"
    (folder / "README.md").write_text(card)  # it says types, so `datasets` reads the folder
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 1500, pa.int32()), ["x" * MIB])  # so that writing takes little
    pq.write_table(pa.table({"question": one}), folder / "train.parquet", compression="zstd", store_schema=False)
    command = [sys.executable, "-c", IN_ITS_OWN_PROCESS, str(folder), "dataset"]
    environment = os.environ | {"HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    peak, said = done.stdout.split(maxsplit=1)
    assert int(peak) < 900  # of 1,500 that the one column holds
    assert said == f"SFTKeyError dataset '{folder}' (split 'train'): takes more memory than its size explains\n"


def test_rows_that_take_no_place_are_counted_all_the_same(tmp_path: Path) -> None:
    nothing = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
    path = write_arrow(tmp_path / "a.arrow", pa.record_batch([nothing], ["question"]))
    with pytest.raises(SFTKeyError, match=r"a\.arrow: \d+ bytes unpack to 17179869176 and more"):
        rows_of(path)


@pytest.mark.parametrize("kind", ["plain", "dictionary"])
def test_one_text_in_very_many_rows_ends_at_a_thousand_times_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_bounds, "MAX_UNPACKED_LIST_BYTES", 5000)
    texts = pa.array(["question " * 100] * 9000)
    column = texts if kind == "plain" else texts.dictionary_encode()
    pq.write_table(pa.table({"question": column}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(SFTKeyError, match=r"a\.parquet: \d+ bytes unpack to \d+ and more, expected at most 1000 times"):
        rows_of(tmp_path / "a.parquet")


def test_a_footer_that_says_a_size_too_small_does_not_let_the_rows_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_bounds, "MAX_UNPACKED_LIST_BYTES", 5000)
    sink = io.BytesIO()
    pq.write_table(pa.table({"question": ["q" * 4_000_000]}), sink, compression="zstd", write_statistics=False)
    said = varint(2 * pq.ParquetFile(sink).metadata.row_group(0).total_byte_size)  # zigzag
    content = sink.getvalue()
    footer = content.rindex(b"question")
    lying = content[:footer] + content[footer:]
    assert said in lying
    smaller = b"\x82" + b"\x80" * (len(said) - 2) + b"\x00"  # one, in as many bytes
    (tmp_path / "a.parquet").write_bytes(lying.replace(said, smaller))
    with pytest.raises(SFTKeyError, match=r"a\.parquet"):
        rows_of(tmp_path / "a.parquet")


def varint(number: int) -> bytes:
    """As Parquet's footer writes numbers, seven bits a byte."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
