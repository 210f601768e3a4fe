"""Slices of splits: the rows that `datasets` gives, from every kind of file, under the name of the split."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.building.plan import make_plan
from sftkey_data.building.preview import preview
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.verify.check import check

NUM = 137
SPECS = [
    "train[:50]",
    "train[10:20]",
    "train[-10:]",
    "train[:-100]",
    "train[:10%]",
    "train[10%:20%]",
    "train[99%:]",
    "train[:50%](pct1_dropremainder)",
    "train[:3]+train[-3:]",
    "train[5:9]+train[7:12]",
    "train[20:9999]",
    "train[:]",
]


def rows(num: int = NUM, first: int = 0) -> list[dict[str, str]]:
    return [{"prompt": f"What is {n} + 1?", "cot": f"One more than {n}.", "key": f"k{n}"} for n in range(first, num)]


def as_jsonl(path: Path, content: list[dict[str, str]]) -> None:
    # a blank line is no row
    path.write_text("\n\n".join(map(json.dumps, content)) + "\n")


def as_csv(path: Path, content: list[dict[str, str]], separator: str = ",") -> None:
    lines = [separator.join(content[0]), *(separator.join(row.values()) for row in content)]
    path.write_text("\n".join(lines) + "\n")


def as_list(path: Path, content: list[dict[str, str]]) -> None:
    path.write_text(json.dumps(content))


def as_arrow(path: Path, content: list[dict[str, str]]) -> None:
    table = pa.Table.from_pylist(content)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


def as_gzip(path: Path, content: list[dict[str, str]]) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, content)).encode()))


KINDS: dict[str, Callable[[Path, list[dict[str, str]]], None]] = {
    "rows.jsonl": as_jsonl,
    "rows.json": as_list,
    "rows.csv": as_csv,
    "rows.tsv": lambda path, content: as_csv(path, content, "\t"),
    "rows.parquet": lambda path, content: pq.write_table(pa.Table.from_pylist(content), path, row_group_size=30),
    "rows.arrow": as_arrow,
    "rows.jsonl.gz": as_gzip,
}


def wanted(paths: list[str], split: str, cache: Path) -> list[str]:
    loaded = datasets.load_dataset("json", data_files=paths, split=split, cache_dir=str(cache))
    return list(loaded["key"])


def golds(out: Path) -> list[str]:
    return open_shards(out)["gold"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("split", SPECS)
def test_a_slice_of_files_has_the_rows_that_datasets_gives(tmp_path: Path, split: str) -> None:
    content = rows()
    paths = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    as_jsonl(Path(paths[0]), content[:60])
    as_jsonl(Path(paths[1]), content[60:])
    expected = wanted(paths, split, tmp_path / "cache")
    config = BuildConfig(source="columns", inputs=tuple(paths), split=split, shard_rows=13)
    for workers in (1, 3):
        manifest = build(config, tmp_path / f"out-{workers}", machinery=Machinery(workers))
        assert golds(tmp_path / f"out-{workers}") == expected
        assert manifest.counts.rows_read == len(expected)
        assert sum(one.rows for one in manifest.inputs) == len(expected)
        assert (manifest.split, manifest.config["split"]) == ("train", split)
        check(tmp_path / f"out-{workers}", full=True)
    table = open_shards(tmp_path / "out-1")
    assert set(table["split"].to_pylist()) == {"train"}
    assert len(set(table["id"].to_pylist())) == len(expected)


@pytest.mark.parametrize("split", ["train[10:20]", "train[-7:]", "train[:10%]+train[130:]"])
@pytest.mark.parametrize("name", KINDS)
def test_a_slice_is_the_same_of_every_kind_of_file(tmp_path: Path, name: str, split: str) -> None:
    as_jsonl(tmp_path / "peer.jsonl", rows())
    KINDS[name](tmp_path / name, rows())
    build(BuildConfig(source="columns", inputs=(str(tmp_path / name),), split=split), tmp_path / "out")
    assert golds(tmp_path / "out") == wanted([str(tmp_path / "peer.jsonl")], split, tmp_path / "cache")


def test_the_two_sides_of_a_cut_share_no_row_and_no_id(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows.jsonl", rows())
    ids = []
    for number, split in enumerate(("train[:90%]", "train[90%:]")):
        config = BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), split=split)
        build(config, tmp_path / str(number))
        ids.append(open_shards(tmp_path / str(number))["id"].to_pylist())
    assert ids[0] + ids[1] == [f"columns/train/{n}" for n in range(NUM)]


def test_a_sum_takes_each_split_from_the_file_that_bears_its_name(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "train.jsonl", rows(20))
    as_jsonl(tmp_path / "test-00000-of-00001.jsonl", rows(30, 20))
    paths = tuple(str(path) for path in sorted(tmp_path.glob("*.jsonl")))
    manifest = build(BuildConfig(source="columns", inputs=paths, split="train[-2:]+test[:3]"), tmp_path / "out")
    assert golds(tmp_path / "out") == ["k18", "k19", "k20", "k21", "k22"]
    assert manifest.split == "train+test"
    with pytest.raises(SFTKeyError, match="no input's name says test"):
        build(BuildConfig(source="columns", inputs=paths[1:], split="train+test"), tmp_path / "other")


@pytest.mark.parametrize("split", ["train[:3]", "test", "train[-2:]+test[:1]", "test+train"])
def test_a_folder_of_splits_is_sliced_like_its_files(tmp_path: Path, split: str) -> None:
    (tmp_path / "rows").mkdir()
    as_jsonl(tmp_path / "rows" / "train.jsonl", rows(20))
    as_jsonl(tmp_path / "rows" / "test.jsonl", rows(30, 20))
    manifest = build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows"),), split=split), tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "rows"), split=split, cache_dir=str(tmp_path / "cache"))
    assert golds(tmp_path / "out") == list(loaded["key"])
    assert manifest.split == "+".join(part.split("[")[0] for part in split.split("+"))


def test_a_generated_set_is_sliced_too(tmp_path: Path) -> None:
    options = {"num": 20}
    build(BuildConfig(source="arithmetic", options=options), tmp_path / "all")
    build(BuildConfig(source="arithmetic", options=options, split="train[5:8]"), tmp_path / "some")
    assert open_shards(tmp_path / "some").to_pylist() == open_shards(tmp_path / "all").to_pylist()[5:8]


def test_limit_and_show_count_within_the_slice(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows.jsonl", rows())
    config = BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), split="train[100:]", limit=2)
    build(config, tmp_path / "out")
    assert golds(tmp_path / "out") == ["k100", "k101"]
    shown = [row["id"] for unit in preview(make_plan(config), 2) for row in unit.table.to_pylist()]
    assert shown == ["columns/train/100", "columns/train/101"]


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ("train[", "is not understood: expected a split's name, a slice as"),
        ("train[:200%]", r"is not understood \(Percent slice boundaries"),
        ("train[::2]", "is not understood"),
        ("train[500:600]", "names no row: train has 137 rows"),
        ("train[20:10]", "names no row"),
        ("train[:1](pct1_dropremainder)", "is not understood"),
        ("train[:" + "9" * 30 + "]", "over 18 digits"),
        ("tset", r"no such split \(did you mean 'test'\?\)"),
        ("trian[:5]", r"did you mean 'train'\?"),
        ("Train", r"did you mean 'train'\?"),
        ("test+train", "no input's name says test"),
    ],
)
def test_what_names_no_rows_is_one_line(tmp_path: Path, split: str, says: str) -> None:
    as_jsonl(tmp_path / "rows.jsonl", rows())
    with pytest.raises(SFTKeyError, match=says) as raised:
        build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), split=split), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("out*"))


def test_an_unknown_split_of_a_folder_names_the_ones_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    as_jsonl(tmp_path / "rows" / "train.jsonl", rows(3))
    as_jsonl(tmp_path / "rows" / "test.jsonl", rows(3))
    with pytest.raises(SFTKeyError, match=r"unknown split 'tset' \(did you mean 'test'\?\); its splits: train, test"):
        build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows"),), split="tset"), tmp_path / "out")


@pytest.mark.parametrize("split", ["hard", "train_sft", "test2", "level-5"])
def test_a_files_rows_may_bear_a_name_of_ones_own(tmp_path: Path, split: str) -> None:
    as_jsonl(tmp_path / "rows.jsonl", rows(3))
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), split=split), tmp_path / "out")
    assert read_manifest(tmp_path / "out").split == split


def test_a_label_against_a_files_name_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_jsonl(tmp_path / "train.jsonl", rows(3))
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "train.jsonl"),), split="test"), tmp_path / "out")
    assert "warning: --split test labels the rows of" in capsys.readouterr().err
