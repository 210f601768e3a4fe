import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.sources.source import Source, find_source, read_source
from sftkey_data.sources.survey import InputSurvey, start_surveys


def surveyed(source: Source) -> InputSurvey:
    return next(start_surveys([source]))


STRING = {"dtype": "string", "_type": "Value"}
ROWS = [{"question": 'a, "b"\tc\nd é', "answer": "1"}, {"question": "x", "answer": "2"}]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """The rows in the format that the suffix names."""
    content = {
        ".jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        ".json": json.dumps(rows, indent=1),
        ".csv": 'question,answer\n"a, ""b""\tc\nd é",1\nx,2\n',
        ".tsv": 'question\tanswer\n"a, ""b""\tc\nd é"\t1\nx\t2\n',
    }
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        data = sink.getvalue().to_pybytes()
    else:
        data = content[suffix].encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def rows_of(path: Path) -> list[Any]:
    return [record.row for record in read_source(find_source(str(path), None))]


@pytest.mark.parametrize("compression", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, compression: str) -> None:
    assert rows_of(write(tmp_path / f"rows{suffix}{compression}")) == ROWS


def test_a_url_is_read_like_a_path(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    assert [r.row for r in read_source(find_source(f"file://{path}", None))] == ROWS


def test_json_lines_under_the_name_json_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert rows_of(path) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name, content in (("a.csv", "question,answer\nx,1\n"), ("a.jsonl", '{"question": "x", "answer": "1"}\n')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert rows_of(tmp_path / name) == [{"question": "x", "answer": "1"}]


def test_positions_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [record.where for record in read_source(find_source(str(path), None))] == [f"{path}:1", f"{path}:3"]


def test_a_record_with_another_number_of_fields_stays_a_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n1,2,3\n1\n")
    assert rows_of(path) == [{"a": "1", "b": "2"}, ["1", "2", "3"], ["1"]]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", b'[{"a": 1},\n{"a": ]', "line 2: broken JSON"),
        ("a.csv", b'a,b\n1,"2\n', "broken csv"),
        ("a.csv", b"a,a\n1,2\n", "stands twice"),
        ("a.csv", b"a,\xff\n1,2\n", "invalid UTF-8 in the header"),
        ("a.parquet", b"PAR1 no", "not a readable Parquet file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9000)[:-20], "damaged gzip"),
        ("a.jsonl.gz", b'{"a": 1}\n', "damaged gzip"),
        ("a.parquet.gz", b"PAR1 no", "damaged gzip"),
    ],
)
def test_broken_content_is_one_line_with_its_place(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SFTKeyError, match=expected) as raised:
        rows_of(tmp_path / name)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trian.jsonl", "did you mean 'train.jsonl'"),
        ("nowhere/train.jsonl", "not found"),
        ("train.txt", "unknown format '.txt'"),
    ],
)
def test_an_input_that_is_not_there_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    write(tmp_path / "train.jsonl")
    (tmp_path / "train.txt").write_text("x")
    with pytest.raises(SFTKeyError, match=expected):
        find_source(str(tmp_path / name), None)


def test_the_split_comes_from_the_name_unless_given(tmp_path: Path) -> None:
    assert find_source(str(write(tmp_path / "test.jsonl")), None).split == "test"
    assert find_source(str(write(tmp_path / "rows.jsonl.gz")), None).split == "train"
    assert find_source(str(tmp_path / "test.jsonl"), "dev").split == "dev"


def test_a_name_that_is_no_file_is_a_hub_id() -> None:
    assert find_source("openai/gsm8k:main", "test") == Source("openai/gsm8k:main", "dataset", "test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_that_save_to_disk_wrote_is_read(tmp_path: Path, split: str) -> None:
    rows = {name: [{"question": f"{name} {n}", "answer": n / 2} for n in range(3)] for name in ("train", "test")}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(of) for name, of in rows.items()})
    saved.save_to_disk(str(tmp_path / "both"))
    saved[split].save_to_disk(str(tmp_path / "one"))
    datasets.Dataset.from_list(rows[split], split=split).save_to_disk(str(tmp_path / "named"))
    for source in (
        find_source(str(tmp_path / "both"), split),
        find_source(str(tmp_path / "one"), split),
        find_source(str(tmp_path / "named"), None),
    ):
        assert [record.row for record in read_source(source)] == rows[split]
        assert (source.split, surveyed(source).num_rows) == (split, 3)


@pytest.mark.parametrize("name", ["both", "named"])
def test_a_saved_folder_without_the_split_names_those_it_has(tmp_path: Path, name: str) -> None:
    rows = datasets.Dataset.from_list([{"question": "q"}], split="test")
    rows.save_to_disk(str(tmp_path / "named"))
    datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(SFTKeyError, match=r"unknown split 'tset' .did you mean 'test'.*its splits: test"):
        list(read_source(find_source(str(tmp_path / name), "tset")))


def test_a_folder_in_the_hubs_layout_is_read_split_by_split(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    for split in ("train", "test"):
        write(tmp_path / "main" / f"{split}-00000-of-00001.parquet", ROWS[: 1 if split == "test" else 2])
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n"
        "  - split: test\n    path: main/test-*\n---\n"
    )
    train, test = find_source(str(tmp_path), None), find_source(str(tmp_path), "test")
    assert [record.row for record in read_source(train)] == ROWS
    assert [record.row for record in read_source(test)] == ROWS[:1]
    assert [record.row for record in read_source(find_source(f"{tmp_path}:main", None))] == ROWS
    assert surveyed(train).num_rows is None  # not known without reading
    assert surveyed(train).digest != surveyed(test).digest
    with pytest.raises(SFTKeyError, match="split 'dev'"):
        list(read_source(find_source(str(tmp_path), "dev")))


PICTURES = [
    {"image": {"bytes": b"no picture", "path": "a.png"}, "question": "x"},
    {"image": {"bytes": b"no picture", "path": None}, "question": "y"},
    {"image": None, "question": "z"},
]


def write_pictures(path: Path) -> Path:
    """As `datasets` stores a column of pictures; what stands in them is none, so decoding one would fail."""
    schema = pa.schema(
        {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "question": pa.string()},
        metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "question": STRING}}})},
    )
    pq.write_table(pa.Table.from_pylist(PICTURES, schema), path)
    return path


@pytest.mark.parametrize("kind", ["file", "dataset"])
def test_pictures_are_neither_decoded_nor_read_but_their_rows_show_that_there_is_one(tmp_path: Path, kind: str) -> None:
    path = write_pictures(tmp_path / "train.parquet")
    source = find_source(str(path if kind == "file" else tmp_path), None)
    assert source.kind == kind
    rows = [record.row for record in read_source(source)]
    assert [row["image"] for row in rows] == [{"path": "a.png"}, {"path": None}, None]
    assert [row["question"] for row in rows] == ["x", "y", "z"]
    assert surveyed(source) == surveyed(source)


def test_the_hash_is_of_the_files_bytes(tmp_path: Path) -> None:
    import hashlib

    path = write(tmp_path / "rows.jsonl.gz")
    assert surveyed(find_source(str(path), None)).digest == hashlib.sha256(path.read_bytes()).hexdigest()
