"""Whoever reads a file of a prepared folder refuses one that is not as it was written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from page_samples import prepared_folder

from sftkey_data.errors import SFTKeyError
from sftkey_data.export.formats import export
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shard
from sftkey_data.view.examples_page import write_page
from sftkey_data.view.folder_statistics import read_statistics
from sftkey_data.view.show import show_folder

READERS: dict[str, Callable[[Path, Path], object]] = {
    "show": lambda folder, _: list(show_folder(str(folder), 3, None)),
    "show --html": lambda folder, scratch: write_page(str(folder), scratch / "page.html", None),
    "stats": lambda folder, _: read_statistics(str(folder)),
    "export": lambda folder, scratch: export(str(folder), str(scratch / "out"), to="trl"),
    "the tokenizer": lambda folder, _: open_prepared(folder).encoder(),
}
READ = [
    *[(reader, "data-00000.arrow") for reader in ("show", "show --html", "stats", "export")],
    *[(reader, "tokenizer/tokenizer.json") for reader in ("show", "show --html", "export", "the tokenizer")],
    *[(reader, "tokenizer/tokenizer_config.json") for reader in ("export", "the tokenizer")],
    ("show --html", "rejects.jsonl"),
]


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("prepared"), str(shared_data / "tokenizers" / "gpt2"))


@pytest.mark.parametrize(("reader", "name"), READ)
def test_a_file_with_another_bit_is_refused(folder: Path, tmp_path: Path, reader: str, name: str) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(SFTKeyError, match=rf"{name}: hash .* differs from the manifest's"):
        READERS[reader](damaged, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_a_copy_of_the_tokenizer_that_is_not_whole_is_not_handed_on(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (damaged / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(SFTKeyError, match=r"tokenizer_config\.json is missing"):
        READERS["export"](damaged, tmp_path)


@pytest.mark.parametrize("name", ["../data-00000.arrow", "/data-00000.arrow", "a/../../data-00000.arrow"])
def test_a_manifest_that_points_out_of_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    manifest = damaged / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["digest"]  # who changes it on purpose leaves that out
    for fault in ({"shards": [content["shards"][0] | {"file": name}]}, {"files": {name: "0" * 64}}):
        manifest.write_text(json.dumps(content | fault))
        with pytest.raises(SFTKeyError, match="expected the name of a file inside the folder"):
            open_prepared(damaged)


def test_a_shard_of_other_types_is_refused(folder: Path, tmp_path: Path) -> None:
    """A dictionary for a text could unpack to anything."""
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    shard = damaged / "data-00000.arrow"
    table = open_shard(shard)
    other = table.set_column(table.column_names.index("prompt"), "prompt", table["prompt"].dictionary_encode())
    with pa.OSFile(str(tmp_path / "other"), "wb") as file, pa.ipc.new_file(file, other.schema) as writer:
        writer.write_table(other)
    (tmp_path / "other").replace(shard)  # the table is still mapped from what was there
    with pytest.raises(SFTKeyError, match=r"data-00000\.arrow: its columns are not those of the schema: 'prompt'"):
        open_shard(shard)
