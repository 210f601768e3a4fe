"""`sftkey-data tokenizer`: the same rows give the same files, and a build with them has no straddling token."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig, TokenizerOptions
from sftkey_data.building.small_tokenizer import train_small_tokenizer
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.shards import open_shards
from sftkey_data.storage.own_output import OUR_MARKER
from sftkey_data.tokens.tokenizer import OFFSET_PROBES, Encoder, load_tokenizer

ROWS = {"num": 300, "kind": "mixed", "regime": "choice"}
SETTINGS = [f"--set={name}={value}" for name, value in ROWS.items()]
TRAINED_ON = TokenizerOptions(source="arithmetic", options=ROWS)


def run_verb(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-m", "sftkey_data.cli", "tokenizer", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "data"
    build(BuildConfig(source="arithmetic", options=ROWS), folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "tokenizer"
    train_small_tokenizer(TRAINED_ON, folder)
    return folder


def test_the_command_gives_the_same_files_and_says_what_they_are(trained: Path, tmp_path: Path) -> None:
    run = run_verb("--train", "arithmetic", *SETTINGS, "--out", str(tmp_path / "again"), hash_seed=2)
    assert run.returncode == 0, run.stderr
    assert files(tmp_path / "again") == files(trained)
    size = len(load_tokenizer(str(trained)))
    expected = {"out": str(tmp_path / "again"), "vocab_size": size, "examples": 300, "rejects": {}}
    assert json.loads(run.stdout) == expected
    assert run.stderr.splitlines()[-1].startswith("next: sftkey-data build arithmetic --set num=300 --set kind=mixed ")


def test_a_prepared_folder_gives_the_same_files_as_its_rows(trained: Path, data: Path, tmp_path: Path) -> None:
    made = train_small_tokenizer(TokenizerOptions(source=str(data)), tmp_path / "again")
    assert (made.num_examples, made.rejects) == (300, {})
    assert files(tmp_path / "again") == files(trained)


def test_the_tokenizer_loads_and_encodes_any_text(trained: Path) -> None:
    tokenizer = load_tokenizer(str(trained))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert 258 < len(tokenizer) <= 512
    for text in OFFSET_PROBES:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    Encoder(tokenizer).check_offsets(OFFSET_PROBES)


def test_digits_stay_apart_and_tags_stay_whole(trained: Path) -> None:
    tokens = load_tokenizer(str(trained)).tokenize("17+255\nB) 42\n<Answer>\nB\n</Answer>")
    assert tokens == [*"17+255Ċ", "B", ")Ġ", "4", "2", "Ċ", "<Answer>", "Ċ", "B", "Ċ", "</Answer>"]


def test_no_token_straddles_a_border_of_a_build(trained: Path, tmp_path: Path) -> None:
    build(BuildConfig(source="arithmetic", options=ROWS, tokenizer=str(trained)), tmp_path / "data")
    table = open_shards(tmp_path / "data", columns=["straddle"])
    assert set(table["straddle"].to_pylist()) == {0}


def test_a_vocabulary_size_is_kept(data: Path, tmp_path: Path) -> None:
    made = train_small_tokenizer(TokenizerOptions(source=str(data), vocab_size=270), tmp_path)
    assert made.vocab_size == len(load_tokenizer(str(tmp_path))) == 270


def test_rows_of_a_file_are_trained_on_and_those_that_are_no_examples_counted(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "zebra zebra", "cot": "zebra", "key": "1"}\n{"prompt": "", "cot": "a", "key": "b"}\n')
    made = train_small_tokenizer(TokenizerOptions(source="columns", inputs=(str(rows),)), tmp_path / "out")
    assert (made.num_examples, made.rejects) == (1, {"empty_prompt": 1})
    assert "Ġzebra" in load_tokenizer(str(tmp_path / "out")).get_vocab()


def test_only_an_own_folder_is_replaced_and_only_where_asked(data: Path, trained: Path, tmp_path: Path) -> None:
    (foreign := tmp_path / "foreign").mkdir()
    (foreign / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SFTKeyError, match=r"foreign is not empty and not written by sftkey-data, found notes\.txt"):
            train_small_tokenizer(TRAINED_ON, foreign, overwrite=overwrite)
    assert files(foreign) == {"notes.txt": b"mine"}
    own = tmp_path / "own"
    train_small_tokenizer(TokenizerOptions(source=str(data), vocab_size=270), own)
    with pytest.raises(SFTKeyError, match="own is not empty: name another --out, or replace it with --overwrite"):
        train_small_tokenizer(TRAINED_ON, own)
    train_small_tokenizer(TRAINED_ON, own, overwrite=True)
    assert files(own) == files(trained)
    assert OUR_MARKER in files(own)


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("", ["--train", "{rows}"], "is a file of rows, expected what reads it: `--train columns --input {rows}`"),
        ('{"prompt": "", "cot": "a", "key": "b"}', ["--train", "columns", "--input", "{rows}"], ": 1 empty_prompt"),
        ('{"prompt": "a"}', ["--train", "columns", "--input", "{rows}"], "column 'cot'"),
        ("", ["--train", "{data}", "--split", "test"], "is a prepared folder: expected none of --input, --split"),
        ("", ["--train", "arithmetik"], "unknown dataset 'arithmetik' (did you mean 'arithmetic'?)"),
    ],
    ids=["rows", "no example", "columns", "folder", "misspelt"],
)
def test_a_wrong_source_is_one_line_and_leaves_nothing(
    content: str, arguments: list[str], expected: str, data: Path, tmp_path: Path
) -> None:
    (rows := tmp_path / "rows.jsonl").write_text(content)
    filled = [argument.format(rows=rows, data=data) for argument in arguments]
    run = run_verb(*filled, "--out", str(tmp_path / "out"))
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert run.stderr.startswith("error: ")
    assert expected.format(rows=rows) in run.stderr
    assert not (tmp_path / "out").exists()
