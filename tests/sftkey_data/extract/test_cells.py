"""Numbers in cells become the one text that says exactly what they are, or a reject."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.build.build import build
from sftkey_data.build.build_config import BuildConfig
from sftkey_data.extract import Reject
from sftkey_data.extract.cells import text_or_number
from sftkey_data.prepared.shards import open_shards


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
        (Decimal("12.50"), "12.50"),
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
        (Decimal("NaN"), "not_a_number"),
        (date(2024, 7, 26), "wrong_type"),
        (None, "null_value"),
    ],
)
def test_a_cell_that_no_text_says_exactly_is_rejected(value: object, reason: str) -> None:
    with pytest.raises(Reject) as raised:
        text_or_number({"key": value}, "key")
    assert raised.value.reason == reason


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16(), pa.decimal128(6, 2)])
def test_the_columns_of_a_parquet_file_give_the_keys_of_the_same_text(tmp_path: Path, kind: pa.DataType) -> None:
    numbers = pa.array(["145.0", "0.1", "-2.5"]).cast(pa.float64()).cast(kind)
    table = pa.table({"prompt": ["a", "b", "c"], "cot": ["x", "y", "z"], "key": numbers})
    pq.write_table(table, tmp_path / "mine.parquet")
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "mine.parquet"),)), tmp_path / "out")
    golds = open_shards(tmp_path / "out")["gold"].to_pylist()
    assert golds == (["145", "0.10", "-2.50"] if pa.types.is_decimal(kind) else ["145", "0.1", "-2.5"])


def test_a_toml_mapping_and_json_write_an_integer_in_value_as_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = "c"\nkey = "k"\nanswer_type = "number"\n')
    (tmp_path / "mine.jsonl").write_text('{"q": "one", "c": "so", "k": 145.0}\n{"q": "two", "c": "so", "k": 1e3}\n')
    config = BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(str(tmp_path / "mine.jsonl"),))
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == ["145", "1000"]
