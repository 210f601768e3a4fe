"""The command that is named after a verb: the one that builds, or trains on, what was shown or proved."""

from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig, TokenizerOptions
from sftkey_data.building.small_tokenizer import train_small_tokenizer
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.view.next_steps import build_of_shown, build_of_tokenized, recipe_of_checked
from sftkey_data.view.show_options import SourceOptions


def test_what_was_shown_is_built_as_it_was_shown() -> None:
    shown = SourceOptions(inputs=("a b.csv", "c.csv"), split="train[:9]", chat=True, options={"n": "1"})
    words = " ".join(build_of_shown("./mine.toml", shown))
    options = "--input a b.csv --input c.csv --split train[:9] --chat --set n=1"
    assert words == f"build ./mine.toml {options} --tokenizer MODEL --holdout 0.1 --out data/mine"
    words = " ".join(build_of_shown("gsm8k", SourceOptions(tokenizer="gpt2", chat_args={"think": False})))
    assert words == "build gsm8k --tokenizer gpt2 --chat-arg think=false --out data/gsm8k"


def test_what_a_tokenizer_was_trained_on_is_built_with_it_and_whole() -> None:
    options = TokenizerOptions(source="mine.toml", inputs=("a.csv",), limit=100, vocab_size=300, template="boxed")
    words = " ".join(build_of_tokenized(options, "tok"))
    assert words == "build mine.toml --input a.csv --template boxed --tokenizer tok --holdout 0.1 --out data/mine"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "tokenizer"
    train_small_tokenizer(TokenizerOptions(source="arithmetic", options={"num": 20}), folder)
    return folder


def test_a_folder_that_can_be_trained_on_is_followed_by_its_recipe(tokenizer: Path, tmp_path: Path) -> None:
    def built(name: str, **words: object) -> tuple[str, ...] | None:
        build(BuildConfig(source="arithmetic", options={"num": 20}, **words), tmp_path / name)
        found = recipe_of_checked(name, read_manifest(tmp_path / name))
        return None if found is None else tuple(found)

    assert built("text") is None
    assert built("new", tokenizer=str(tokenizer), holdout=0.5) == ("recipe", "--data", "new")
    assert recipe_of_checked("new-holdout", read_manifest(tmp_path / "new-holdout")) is None
    (tokenizer / "config.json").write_text('{"model_type": "llama"}')
    assert built("old", tokenizer=str(tokenizer)) == ("recipe", "--model", str(tokenizer), "--data", "old")
    assert recipe_of_checked("s3://bucket/old", read_manifest(tmp_path / "old")) is None
