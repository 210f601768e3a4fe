"""check, show, stats and export of a prepared folder on a real S3-compatible server that fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from flaky_proxy import FlakyProxy, Rule
from page_samples import prepared_folder

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.export.formats import export
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.storage.output_folder import Folder
from sftkey_data.verify.check import check
from sftkey_data.view.examples_page import page_data
from sftkey_data.view.folder_statistics import as_text, read_statistics
from sftkey_data.view.show import show_folder

URL = "s3://bucket/prepared"
FIXTURE = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")


@pytest.fixture
def folder(proxy: FlakyProxy, tmp_path: Path, shared_data: Path) -> Path:
    """Five examples in two shards, here and under `URL`."""
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=gpt2, shard_rows=3), tmp_path / "local")
    upload(tmp_path / "local")
    return tmp_path / "local"


def upload(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            Folder(URL).write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_remote_folder_is_checked_although_the_server_fails(
    folder: Path,
    proxy: FlakyProxy,
    workers: int,
) -> None:
    proxy.rules += [Rule("error", "GET", "data-0000", times=2), Rule("cut", "GET", "data-0000", times=1)]
    assert check(URL, full=True, workers=workers) == check(folder, full=True)


def test_a_file_url_is_the_local_folder(folder: Path, tmp_path: Path) -> None:
    assert check(folder.as_uri()) == check(folder)
    assert open_prepared(folder.as_uri()).local == folder
    with pytest.raises(SFTKeyError, match="holds the prepared folder"):
        export(folder.as_uri(), tmp_path, to="jsonl", overwrite=True)


def test_show_stats_and_page_of_a_url_are_those_of_the_local_folder(folder: Path) -> None:
    assert [str(text) for text in show_folder(URL, 4, None)] == [str(text) for text in show_folder(folder, 4, None)]
    assert "2,000" in str(next(show_folder(URL, 1, "gsm8k/train/1")))
    assert as_text(read_statistics(URL)) == as_text(read_statistics(folder))
    assert page_data(URL, None) == page_data(folder, None)


def test_only_the_shards_that_hold_the_rows_are_fetched(folder: Path, proxy: FlakyProxy) -> None:
    rule = Rule("error", "GET", "data-00001", times=10**6)
    proxy.rules.append(rule)
    assert len(list(show_folder(URL, 3, None))) == 3
    assert rule.seen == 0


@pytest.mark.parametrize("to", ["trl", "parquet"])
def test_an_export_of_a_url_is_that_of_the_local_folder(folder: Path, tmp_path: Path, to: str) -> None:
    export(URL, tmp_path / "out", to=to)
    there = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files(tmp_path / "out")}
    export(folder, tmp_path / "out", to=to, overwrite=True)
    assert there == {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files(tmp_path / "out")
    }


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_no_copy_is_left_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    check(URL, workers=2)
    read_statistics(URL)
    Folder(URL).write_bytes("data-00000.arrow", b"ARROW1")
    with pytest.raises(SFTKeyError, match="is damaged"):
        check(URL, workers=2)
    assert list(scratch.iterdir()) == []


def test_what_is_missing_or_damaged_there_is_one_line(folder: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"^s3://bucket/nothing: no manifest\.json, expected a folder"):
        check("s3://bucket/nothing")
    content = bytearray((folder / "data-00001.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    Folder(URL).write_bytes("data-00001.arrow", bytes(content))
    for read in (lambda: check(URL), lambda: export(URL, folder.parent / "out", to="jsonl")):
        with pytest.raises(SFTKeyError, match=r"s3://bucket/prepared/data-00001\.arrow: hash|is damaged"):
            read()
    Folder(URL).delete("data-00001.arrow")
    for read in (lambda: check(URL), lambda: read_statistics(URL), lambda: list(show_folder(URL, 5, None))):
        with pytest.raises(SFTKeyError, match=r"s3://bucket/prepared/data-00001\.arrow is missing"):
            read()
    Folder(URL).write_bytes("manifest.json", b"{")
    with pytest.raises(SFTKeyError, match=r"^s3://bucket/prepared/manifest\.json: the file: Invalid JSON"):
        read_statistics(URL)


def test_a_shard_that_nobody_listed_is_found_there(folder: Path) -> None:
    Folder(URL).write_bytes("data-00002.arrow", (folder / "data-00001.arrow").read_bytes())
    with pytest.raises(SFTKeyError, match=r"data-00002\.arrow: the manifest lists no such shard"):
        check(URL)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["check", "stats", "show"])
def test_a_server_that_keeps_failing_is_one_line(folder: Path, proxy: FlakyProxy, verb: str) -> None:
    proxy.rules.append(Rule("error", "GET", "data-00000", times=10**6))
    command = [sys.executable, "-m", "sftkey_data.cli", verb, URL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert said.startswith("error: s3://bucket/prepared/data-00000.arrow: reading bytes 0 to ")
    assert "failed 6 times" in said


def test_without_a_tokenizer_a_remote_folder_works_too(
    proxy: FlakyProxy,
    tmp_path: Path,
) -> None:
    local = prepared_folder(tmp_path, None)
    upload(local)
    assert check(URL, full=True) == check(local)
    assert "in characters" in as_text(read_statistics(URL))
