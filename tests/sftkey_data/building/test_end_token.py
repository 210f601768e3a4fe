"""What ends the examples of a build is one fact: of the shards, the manifest, the tokenizer's copy and the exports."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from shard_edits import edit_manifest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.export.formats import export
from sftkey_data.prepared.manifest import MANIFEST, TOKENIZER_FOLDER, TokenizerInfo, file_sha256, read_manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_data.tokens.tokenizer_copy import TOKENIZER_FILES
from sftkey_data.verify.check import check

GSM8K = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")
TEXT, TURN = ("<|endoftext|>", 151643), ("<|im_end|>", 151645)


@pytest.fixture(scope="module")
def base(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen's tokenizer as its base model has it: the EOS ends a text, no turn."""
    folder = tmp_path_factory.mktemp("base") / "qwen"
    shutil.copytree(shared_data / "tokenizers" / "qwen2.5", folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": TEXT[0]}))
    return folder


def prepared(out: Path, tokenizer: Path, **values: Any) -> TokenizerInfo:
    build(BuildConfig(source="gsm8k", inputs=(GSM8K,), tokenizer=str(tokenizer), **values), out)
    info = read_manifest(out).tokenizer
    assert info is not None
    return info


@pytest.mark.parametrize(
    ("chat", "end", "forms"),
    [
        (True, TURN, ["trl"]),
        pytest.param(True, TURN, ["axolotl", "parquet", "jsonl"], marks=pytest.mark.slow),
        pytest.param(False, TEXT, ["trl", "axolotl", "parquet", "jsonl"], marks=pytest.mark.slow),
    ],
    ids=["chat", "chat, other forms", "plain"],
)
def test_what_ends_the_examples_is_the_eos_wherever_the_folder_goes(
    base: Path, tmp_path: Path, chat: bool, end: tuple[str, int], forms: list[str]
) -> None:
    info = prepared(tmp_path / "data", base, chat=chat)
    assert (info.end_token, info.eos_token_id) == end
    assert {row["input_ids"][-1] for row in open_shards(tmp_path / "data").to_pylist()} == {end[1]}
    for form in forms:
        export(tmp_path / "data", tmp_path / form, to=form)
    for folder in ("data", *forms):
        copy = load_tokenizer(str(tmp_path / folder / TOKENIZER_FOLDER))
        assert (copy.eos_token, copy.eos_token_id) == end
        assert f"`{end[0]}`" in (tmp_path / folder / "README.md").read_text()
    check(tmp_path / "data", full=True)


def test_a_build_without_chat_copies_the_tokenizer_byte_for_byte(base: Path, tmp_path: Path) -> None:
    prepared(tmp_path / "data", base)
    names = [name for name in TOKENIZER_FILES if (base / name).is_file()]
    copies = {name: (tmp_path / "data" / TOKENIZER_FOLDER / name).read_bytes() for name in names}
    assert copies == {name: (base / name).read_bytes() for name in names}


@pytest.mark.slow
def test_only_the_end_token_tells_the_builds_of_a_base_and_of_its_chat_model_apart(
    base: Path, shared_data: Path, tmp_path: Path
) -> None:
    ours = prepared(tmp_path / "base", base, chat=True)
    theirs = prepared(tmp_path / "chat", shared_data / "tokenizers" / "qwen2.5", chat=True)
    assert ours.model_copy(update={"name": theirs.name}) == theirs
    plain = prepared(tmp_path / "plain", base)
    assert (plain.fingerprint, plain.eos_token_id) == (theirs.fingerprint, TEXT[1])
    shards = [file_sha256(tmp_path / name / "data-00000.arrow") for name in ("base", "chat", "plain")]
    assert shards[0] == shards[1] != shards[2]


@pytest.mark.slow
def test_an_eos_that_is_not_the_manifests_is_refused(base: Path, tmp_path: Path) -> None:
    prepared(tmp_path / "data", base, chat=True)
    other = shutil.copy(base / "tokenizer_config.json", tmp_path / "data" / TOKENIZER_FOLDER)
    files = {f"{TOKENIZER_FOLDER}/tokenizer_config.json": file_sha256(Path(other))}
    edit_manifest(tmp_path / "data", lambda manifest: manifest["files"].update(files))
    with pytest.raises(SFTKeyError, match=r"tokenizer: the EOS is '<\|endoftext\|>', the manifest's end token '<\|im_"):
        open_prepared(tmp_path / "data").encoder()


def test_a_folder_built_before_the_manifest_named_its_end_token_is_to_be_built_again(
    base: Path, tmp_path: Path
) -> None:
    prepared(tmp_path / "data", base)
    path = tmp_path / "data" / MANIFEST
    older = json.loads(path.read_text())
    del older["tokenizer"]["end_token"], older["digest"]
    path.write_text(json.dumps(older))
    with pytest.raises(SFTKeyError, match=r"manifest.json: tokenizer.end_token: Field required \(.*build it again\)$"):
        read_manifest(tmp_path / "data")
