"""A tokenizer read without transformers is used only where transformers gives the same."""

import json
import shutil
from pathlib import Path

import pytest
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_file import TokenizerDiffers, open_tokenizer_file, opinion_on

ROWS = "".join(json.dumps({"question": f"What is {n} + 1234?", "answer": f"{n}.\n#### {n}"}) + "\n" for n in range(40))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sftkey" / "tokenizers"


def build_rows(tokenizer: Path | str, out: Path, **machinery: int) -> Manifest:
    (rows := out.with_suffix(".jsonl")).write_text(ROWS)
    config = BuildConfig(source="gsm8k", inputs=(str(rows),), tokenizer=str(tokenizer), shard_rows=10)
    return build(config, out, machinery=Machinery(**machinery))


def rewritten(shared_data: Path, folder: Path) -> Path:
    """A tokenizer whose class in transformers writes its own splitting over the one in `tokenizer.json`."""
    shutil.copytree(shared_data / "tokenizers" / "gpt2", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    content = json.loads((folder / "tokenizer.json").read_text())
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "name", some_slow(["qwen2.5", "gpt2", "phi-3-mini", "falcon", "cl100k"], quick=["qwen2.5", "gpt2"])
)
def test_the_file_says_what_transformers_gives(shared_data: Path, cache: Path, name: str) -> None:
    path = str(shared_data / "tokenizers" / name)
    quick, reference = open_tokenizer_file(path), load_tokenizer(path)
    assert quick is not None
    assert tokenizer_fingerprint(quick) == tokenizer_fingerprint(reference)
    assert (quick.eos_token_id, len(quick)) == (reference.eos_token_id, len(reference))
    with opinion_on(path) as opinion:
        assert opinion is not None
        opinion.confirm(quick)
    assert len(list(cache.iterdir())) == 1


def test_it_is_asked_once_for_the_same_files(
    shared_data: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shared_data / "tokenizers" / "gpt2", tmp_path / "gpt2", copy_function=shutil.copyfile)
    first = build_rows(tmp_path / "gpt2", tmp_path / "first")
    monkeypatch.setattr("subprocess.Popen", None)  # a second process would fail
    assert build_rows(tmp_path / "gpt2", tmp_path / "second").shards == first.shards
    (tmp_path / "gpt2").chmod(0o755)
    (tmp_path / "gpt2" / "special_tokens_map.json").write_text("{}")
    with pytest.raises(TypeError, match="NoneType"):
        build_rows(tmp_path / "gpt2", tmp_path / "third")
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_tokenizer_that_transformers_rewrites_is_the_one_of_transformers(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], cache: Path, workers: int
) -> None:
    folder = rewritten(shared_data, tmp_path / "tokenizer")
    reference, quick = load_tokenizer(str(folder)), open_tokenizer_file(str(folder))
    assert quick is not None
    assert tokenizer_fingerprint(quick) != tokenizer_fingerprint(reference)
    with opinion_on(str(folder)) as opinion:
        assert opinion is not None
        with pytest.raises(TokenizerDiffers):
            opinion.confirm(quick)
    shutil.rmtree(cache)
    manifest = build_rows(folder, tmp_path / "out", workers=workers)
    assert "beginning again with the tokenizer that transformers gives" in capfd.readouterr().err
    assert manifest.tokenizer is not None
    assert manifest.tokenizer.fingerprint == tokenizer_fingerprint(reference)
    for row in open_shards(tmp_path / "out").to_pylist():
        ids = reference(row["prompt"] + row["completion"]).input_ids
        assert row["input_ids"] == [*ids, reference.eos_token_id]
    # What differs is remembered too: nobody is asked again, and nothing is built twice.
    assert build_rows(folder, tmp_path / "again", workers=workers).shards == manifest.shards
    assert "beginning again" not in capfd.readouterr().err


@pytest.mark.parametrize("config", [None, "{", "{}", '{"eos_token": "<nothing>"}'], ids=["none", "broken", "no", "bad"])
def test_what_the_files_do_not_say_is_left_to_transformers(
    shared_data: Path, tmp_path: Path, config: str | None
) -> None:
    content = (shared_data / "tokenizers" / "gpt2" / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content)
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(config)
    assert open_tokenizer_file(str(tmp_path)) is None


def test_a_home_that_cannot_be_written_is_no_error(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build_rows(shared_data / "tokenizers" / "gpt2", tmp_path / "out").counts.written == 40
