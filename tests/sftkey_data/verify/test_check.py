import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shard_edits import edit_manifest, write_rows

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.prepared.shards import open_shard, open_shards
from sftkey_data.verify.check import check

FIXTURE = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")


@pytest.fixture(scope="module")
def prepared(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=gpt2, shard_rows=3), out)
    return out


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change rows of the first shard and make hash and digest agree, so that only the rows can tell."""
    shard = folder / "data-00000.arrow"
    table = open_shard(shard)
    rows = table.to_pylist()
    change(rows)
    write_rows(shard, rows, table.schema)
    info = {"sha256": file_sha256(shard), "rows": len(rows)}
    edit_manifest(folder, lambda manifest: manifest["shards"][0].update(info))


def setting(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[1].update(values)


def shifting(name: str, by: int) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[1].update({name: rows[1][name] + by})


def test_a_sound_folder_passes(folder: Path) -> None:
    assert check(folder).counts.written == check(folder, full=True).counts.written == 5


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_one_flipped_bit_is_found(folder: Path, position: float) -> None:
    shard = folder / "data-00001.arrow"
    content = bytearray(shard.read_bytes())
    content[int(len(content) * position)] ^= 1
    shard.write_bytes(content)
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow"):
        check(folder)


def test_a_missing_and_a_short_shard_are_found(folder: Path) -> None:
    (folder / "data-00001.arrow").write_bytes((folder / "data-00001.arrow").read_bytes()[:100])
    with pytest.raises(SFTKeyError, match="is damaged"):
        check(folder)
    (folder / "data-00001.arrow").unlink()
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow is missing"):
        check(folder)
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow is missing"):
        open_shards(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shifting("key_start", 1), "key_start is"),
        (shifting("cot_end", -1), "cot_end is"),
        (setting(gold="1"), "the Key's span holds '2,000', gold is '1'"),
        (setting(completion="<Thinking>a</Thinking>"), "the completion does not parse: missing_key"),
        (setting(prompt="other\n"), "do not decode to prompt"),
        (shifting("key_token_start", 1), "the Key's tokens decode to"),
        (shifting("key_token_end", -1), "the Key's tokens decode to"),
        (shifting("answer_token_end", -1), "expected one EOS"),
        (shifting("prompt_tokens", 1000), "token borders out of order"),
        (lambda rows: rows[1]["input_ids"].pop(), "expected one EOS"),
        (lambda rows: rows[1].update(id=rows[0]["id"]), "id stands twice"),
        (lambda rows: rows[1]["input_ids"].__setitem__(0, 5), "do not decode to prompt"),
    ],
)
def test_a_wrong_row_is_named(folder: Path, change: Callable[[list[dict[str, Any]]], None], expected: str) -> None:
    rewrite(folder, change)
    with pytest.raises(SFTKeyError, match=r"data-00000\.arrow row 1 ") as raised:
        check(folder)
    assert expected in str(raised.value)


def test_a_lost_row_is_found(folder: Path) -> None:
    rewrite(folder, lambda rows: rows.pop())
    with pytest.raises(SFTKeyError, match="rows of the shards: 4, expected 5"):
        check(folder)


def test_another_tokenizer_in_the_folder_is_found(folder: Path, shared_data: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(shared_data / "tokenizers" / "falcon", folder / "tokenizer")
    with pytest.raises(SFTKeyError, match=r"tokenizer\.json: hash"):
        check(folder)
    files = {f"tokenizer/{path.name}": file_sha256(path) for path in (folder / "tokenizer").iterdir()}
    edit_manifest(folder, lambda manifest: manifest["files"].update(files))
    with pytest.raises(SFTKeyError, match="not the tokenizer that the manifest names"):
        check(folder)


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 9}'])
def test_a_broken_manifest_is_one_line(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(SFTKeyError, match=r"manifest\.json"):
        check(folder)


def test_a_folder_that_is_no_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="expected a folder written by"):
        check(tmp_path)


def test_a_column_that_is_not_there_names_the_nearest(folder: Path) -> None:
    with pytest.raises(SFTKeyError, match="did you mean 'completion'"):
        open_shards(folder, ["completions"])
    assert open_shards(folder, ["gold", "id"], verify=True).column_names == ["gold", "id"]
