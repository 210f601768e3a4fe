"""The demo's tokenizer script: the same data give the same files, and a build with them has no straddling token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftkey_data.build.build import build
from sftkey_data.build.build_config import BuildConfig
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import OFFSET_PROBES, Encoder, load_tokenizer

SCRIPT = Path(__file__).parents[3] / "train" / "recipes" / "demo_tokenizer.py"
OPTIONS = {"num": 300, "kind": "mixed", "regime": "choice"}


def run_script(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    build(BuildConfig(source="arithmetic", options=OPTIONS), folder)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    folder = data.parent / "tokenizer"
    run = run_script("--data", str(data), "--out", str(folder), hash_seed=1)
    assert run.returncode == 0, run.stderr
    return folder


def test_the_same_data_give_the_same_files(data: Path, trained: Path, tmp_path: Path) -> None:
    assert run_script("--data", str(data), "--out", str(tmp_path), hash_seed=2).returncode == 0
    files = {path.name: path.read_bytes() for path in trained.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_the_tokenizer_loads_and_encodes_any_text(trained: Path) -> None:
    tokenizer = load_tokenizer(str(trained))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert 258 < len(tokenizer) <= 512
    for text in OFFSET_PROBES:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    Encoder(tokenizer).check_offsets(OFFSET_PROBES)


def test_digits_stay_apart_and_tags_stay_whole(trained: Path) -> None:
    tokens = load_tokenizer(str(trained)).tokenize("17+255\nB) 42\n<Answer>\nB\n</Answer>")
    assert tokens == [
        "1",
        "7",
        "+",
        "2",
        "5",
        "5",
        "Ċ",
        "B",
        ")Ġ",
        "4",
        "2",
        "Ċ",
        "<Answer>",
        "Ċ",
        "B",
        "Ċ",
        "</Answer>",
    ]


def test_no_token_straddles_a_border_of_a_build(trained: Path, tmp_path: Path) -> None:
    config = BuildConfig(source="arithmetic", options=OPTIONS, tokenizer=str(trained))
    build(config, tmp_path / "data")
    table = open_shards(tmp_path / "data", columns=["straddle"])
    assert set(table["straddle"].to_pylist()) == {0}


def test_a_vocabulary_size_is_kept(data: Path, tmp_path: Path) -> None:
    assert run_script("--data", str(data), "--out", str(tmp_path), "--vocab-size", "270").returncode == 0
    assert len(load_tokenizer(str(tmp_path))) == 270


def test_a_folder_in_use_is_refused_in_one_line(data: Path) -> None:
    run = run_script("--data", str(data), "--out", str(data))
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"error: {data} is not an empty directory, expected a new one for the tokenizer\n"
