"""What lies in a prepared folder, changed file by file and byte by byte."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flipped_bits import refused_or_same
from page_samples import prepared_folder
from shard_edits import edit_manifest

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.verify.check import check

TOKENIZER_FILE = "tokenizer/tokenizer_config.json"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("prepared"), str(shared_data / "tokenizers" / "gpt2"))


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["data-00000.arrow", "rejects.jsonl", TOKENIZER_FILE])
def test_any_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    check(folder)
    for place in range(6):
        flip(folder / name, (len(content) - 1) * place // 5)
        with pytest.raises(SFTKeyError, match=name):
            check(folder)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["data-00000.arrow", "rejects.jsonl", TOKENIZER_FILE])
def test_a_missing_file_is_found(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SFTKeyError, match=rf"{name} is missing"):
        check(folder)


def test_a_shard_that_nobody_listed_is_found(folder: Path) -> None:
    shutil.copy(folder / "data-00000.arrow", folder / "data-00001.arrow")
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow: the manifest lists no such shard"):
        check(folder)


def test_a_shard_that_is_listed_twice_is_found(folder: Path) -> None:
    def twice(manifest: dict[str, Any]) -> None:
        manifest["shards"] *= 2
        for counts in (manifest["counts"], manifest["inputs"][0]):
            counts.update({name: counts[name] + 5 for name in ("rows_read", "written", "rows") if name in counts})

    edit_manifest(folder, twice)
    with pytest.raises(SFTKeyError, match="row 0: id stands twice or out of order: number 0 after 4"):
        check(folder)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (lambda lines: lines[1:], "holds tag_in_cot 2; the manifest says empty_key 1, tag_in_cot 2"),
        (lambda lines: [*lines, lines[0]], "holds empty_key 2, tag_in_cot 2"),
        (lambda lines: [], "holds no rejects"),
        (lambda lines: [*lines[:2], b"{"], "line 3: expected a JSON object with a reason"),
        (lambda lines: [*lines[:2], b"[]"], "line 3: expected a JSON object with a reason"),
    ],
    ids=["one less", "one more", "none", "cut", "no object"],
)
def test_rejects_are_counted_without_their_hash(
    folder: Path, lines: Callable[[list[bytes]], list[bytes]], expected: str
) -> None:
    edit_manifest(folder, lambda manifest: manifest["files"].pop("rejects.jsonl"))
    path = folder / "rejects.jsonl"
    path.write_bytes(b"\n".join(lines(path.read_bytes().splitlines())))
    with pytest.raises(SFTKeyError, match=rf"rejects\.jsonl:? {expected}"):
        check(folder)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "config": lambda manifest: manifest["config"].update(system="Be brief."),
    "code version": lambda manifest: manifest.update(code_version="9.9"),
    "input's hash": lambda manifest: manifest["inputs"][0].update(sha256="0" * 64),
    "statistics": lambda manifest: manifest["statistics"].update(shortened=3),
    "no digest": lambda manifest: manifest.pop("digest"),
    "another digest": lambda manifest: manifest.update(digest="0" * 64),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manifest_edited_by_hand_is_found(folder: Path, edit: str) -> None:
    edit_manifest(folder, EDITS[edit], digest=False)
    with pytest.raises(SFTKeyError, match=r"manifest\.json: changed since the build: it has (no digest|digest)"):
        check(folder)


def test_a_flipped_bit_in_a_manifest_is_seen_by_whoever_reads_it(folder: Path) -> None:
    assert refused_or_same(folder / "manifest.json", lambda: read_manifest(folder), 120) == 120
    edit_manifest(folder, lambda manifest: manifest.pop("digest"), digest=False)
    assert read_manifest(folder).counts.written == 5  # one without a digest is read as it is


@pytest.mark.parametrize(
    ("name", "value"),
    [("key_share", 0.5), ("example_length", {}), ("straddle", {"key_start": 1}), ("unit", "characters")],
)
def test_statistics_that_the_shards_do_not_give_are_found(folder: Path, name: str, value: Any) -> None:
    edit_manifest(folder, lambda manifest: manifest["statistics"].update({name: value}))
    with pytest.raises(SFTKeyError, match=rf"statistics\.{name} is "):
        check(folder)


@pytest.mark.parametrize("name", ["rows_read", "written", "rejected"])
def test_a_wrong_count_is_found_although_the_digest_fits(folder: Path, name: str) -> None:
    edit_manifest(folder, lambda manifest: manifest["counts"].update({name: manifest["counts"][name] + 1}))
    with pytest.raises(SFTKeyError, match="the counts do not add up"):
        check(folder)


def test_the_card_may_be_edited_and_the_manifest_laid_out_anew(folder: Path) -> None:
    (folder / "README.md").write_text("Ours.")
    edit_manifest(folder, lambda manifest: None, digest=False)
    assert check(folder, full=True).counts.written == 5
