"""Folders of the manifest's first version are read as they are."""

import json
from pathlib import Path

import pytest
from shard_edits import edit_manifest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256, read_manifest
from sftkey_data.sources.tree_hash import LEAF_BYTES, file_tree_hash
from sftkey_data.verify.check import check


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder built of an input of more than one leaf."""
    row = {"question": "q" * 999, "answer": "1 + 1 = 2\n#### 2"}
    path = tmp_path / "train.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * (LEAF_BYTES // 999))
    build(BuildConfig(source="gsm8k", inputs=(str(path),), limit=3), tmp_path / "out")
    return tmp_path / "out"


def test_the_hash_of_an_input_is_its_tree_hash(built: Path) -> None:
    manifest = read_manifest(built)
    path = built.parent / "train.jsonl"
    assert manifest.schema_version == 2
    assert manifest.inputs[0].sha256 == file_tree_hash(path) != file_sha256(path)


def test_a_folder_of_the_first_version_is_read(built: Path) -> None:
    plain = file_sha256(built.parent / "train.jsonl")
    edit_manifest(built, lambda m: (m.update(schema_version=1), m["inputs"][0].update(sha256=plain)))
    assert '"schema_version": 1' in (built / "manifest.json").read_text()
    manifest = check(built, full=True)
    assert (manifest.schema_version, manifest.inputs[0].sha256) == (1, plain)


@pytest.mark.parametrize("version", [0, 3])
def test_any_other_version_is_refused(built: Path, version: int) -> None:
    edit_manifest(built, lambda m: m.update(schema_version=version))
    with pytest.raises(SFTKeyError, match=f"schema version {version}, this program reads 1 and 2"):
        read_manifest(built)
