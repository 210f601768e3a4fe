"""Numbers in cells become the one text that says exactly what they are, or a reject."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.extract import Reject
from sftkey_data.extract.cells import number_text, text_or_number
from sftkey_data.prepared.shards import open_shards
from sftkey_data.sources.hub import read_hub_rows
from sftkey_data.sources.source import find_source, read_source


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("145.0", "145.0"),
        (145, "145"),
        (145.0, "145"),
        (-3.0, "-3"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (0.1, "0.1"),
        (1e22, "1" + "0" * 22),
        (123456789.123456, "123456789.123456"),
        (12345678901234567, "12345678901234567"),
        (Decimal("145.00"), "145"),
        (Decimal("12.50"), "12.5"),
        (Decimal("1E+400"), "1E+400"),
        (Decimal("1.00000000000000000001"), "1.00000000000000000001"),
        (1e-7, "0.0000001"),
        (2**60, "1152921504606846976"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.float64(145.0), "145"),
        (np.int64(-3), "-3"),
        (np.bool_(True), "True"),
        (Decimal("1E+3"), "1000"),
        (True, "True"),
    ],
)
def test_a_cell_is_written_as_what_it_holds(value: object, wanted: str) -> None:
    assert text_or_number({"key": value}, "key") == wanted


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.1 + 0.2, "inexact_number"),
        (1 / 3, "inexact_number"),
        (float(12345678901234567), "inexact_number"),
        (1e23, "inexact_number"),
        (float("nan"), "not_a_number"),
        (float("inf"), "not_a_number"),
        (np.float32("nan"), "not_a_number"),
        (Decimal("NaN"), "not_a_number"),
        (date(2024, 7, 26), "wrong_type"),
        (None, "null_value"),
    ],
)
def test_a_cell_that_no_text_says_exactly_is_rejected(value: object, reason: str) -> None:
    with pytest.raises(Reject) as raised:
        text_or_number({"key": value}, "key")
    assert raised.value.reason == reason


GOLDS = ["145", "0.1", "-2.5", "16384"]
ROWS = {"prompt": list("abcd"), "cot": list("wxyz"), "key": [145.0, 0.1, -2.5, 16384.0]}


def written(folder: Path, kind: str) -> str:
    """A file with `ROWS`, of which only a text file may say a number in more than one way."""
    path = folder / f"train.{kind}"
    table = pa.table(ROWS)
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif kind == "csv":
        path.write_text("prompt,cot,key\na,w,145\nb,x,0.1\nc,y,-2.5\nd,z,16384\n")
    else:
        numbers = ("145.0", "1e-1", "-2.50", "16384")
        lines = [
            f'{{"prompt": "{p}", "cot": "{c}", "key": {n}}}' for p, c, n in zip("abcd", "wxyz", numbers, strict=True)
        ]
        path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("in_folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "arrow"])
def test_the_same_numbers_give_the_same_keys_from_every_kind_of_source(
    tmp_path: Path, kind: str, *, in_folder: bool
) -> None:
    (tmp_path / "rows").mkdir()
    path = written(tmp_path / "rows", kind)
    source = str(tmp_path / "rows") if in_folder else path
    build(BuildConfig(source="columns", inputs=(source,)), tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == GOLDS


def test_a_csv_in_a_folder_keeps_its_cells_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    cells = ["007", "1.50", "2024-01-05", "NA", "True", "1e3"]
    (tmp_path / "rows" / "train.csv").write_text("prompt,cot,key\n" + "".join(f"{c},so,{c}\n" for c in cells))
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows"),)), tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == cells


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16(), pa.decimal128(8, 2)], ids=str)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_narrow_numbers_read_as_they_do_at_any_depth(tmp_path: Path, suffix: str, kind: pa.DataType) -> None:
    flat = pa.array([145.0, 0.1, -2.5]).cast(kind)
    table = pa.table(
        {
            "prompt": ["a", "b", "c"],
            "key": flat,
            "list": pa.ListArray.from_arrays([0, 1, 2, 3], flat),
            "struct": pa.StructArray.from_arrays([pa.ListArray.from_arrays([0, 1, 2, 3], flat)], ["n"]),
        }
    )
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    for record, wanted in zip(read_source(find_source(str(path), None)), ["145", "0.1", "-2.5"], strict=True):
        row = record.row
        for value in (row["key"], row["list"][0], row["struct"]["n"][0]):
            assert number_text(value, "key") == wanted


def test_a_hub_set_of_narrow_floats_reads_them_as_written() -> None:
    kinds = {"key": datasets.Value("float32"), "list": datasets.List(datasets.Value("float16"))}
    rows = datasets.Dataset.from_dict({"key": [0.1], "list": [[0.1, None]]}, features=datasets.Features(kinds))
    assert [record.row for record in read_hub_rows(rows, "rows[train]")] == [{"key": 0.1, "list": [0.1, None]}]


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        ("1E400", "1E+400"),
        ("1e3", "1000"),
        ("1e23", "1" + "0" * 23),
        ("1.00000000000000000001", "1.00000000000000000001"),
        ("9007199254740993.0", "9007199254740993"),
        ("1e-400", "1E-400"),
        ("1152921504606846977", "1152921504606846977"),
        ("145.50", "145.5"),
        ("-0.0", "0"),
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_json_number_is_the_one_that_is_written(tmp_path: Path, name: str, number: str, wanted: str) -> None:
    row = f'{{"prompt": "a", "cot": "b", "key": {number}}}'
    (tmp_path / name).write_text(row if name == "rows.jsonl" else f"[{row}]")
    build(BuildConfig(source="columns", inputs=(str(tmp_path / name),)), tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == [wanted]


@pytest.mark.parametrize("number", ["1e9999999999999999999", "NaN", "-Infinity"])
def test_a_json_number_that_nothing_holds_is_rejected(tmp_path: Path, number: str) -> None:
    rows = [f'{{"prompt": "a", "cot": "b", "key": {one}}}' for one in ("1", number)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    config = BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), max_reject_rate=1.0)
    assert build(config, tmp_path / "out").rejects == {"not_a_number": 1}


def test_a_toml_mapping_and_json_write_an_integer_in_value_as_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = "c"\nkey = "k"\nanswer_type = "number"\n')
    (tmp_path / "mine.jsonl").write_text('{"q": "one", "c": "so", "k": 145.0}\n{"q": "two", "c": "so", "k": 1e3}\n')
    config = BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(str(tmp_path / "mine.jsonl"),))
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == ["145", "1000"]
