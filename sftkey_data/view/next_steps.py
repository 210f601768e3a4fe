"""The command that goes on from what a verb has shown or proved."""

from collections.abc import Sequence
from pathlib import Path

from sftkey_data.building.build_config import TokenizerOptions
from sftkey_data.flags import typed_words
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.view.show_options import SourceOptions

_MODEL = "MODEL"
"""Stands for the name of the user's own."""


def build_of_shown(source: str, options: SourceOptions) -> Sequence[str]:
    """`build` of the source whose rows have been shown, with the options that they were shown with."""
    return _build(source, [*typed_words(options), *([] if options.tokenizer else ["--tokenizer", _MODEL])])


def build_of_tokenized(options: TokenizerOptions, tokenizer: str) -> Sequence[str]:
    """`build` of the source that a tokenizer has been trained on, with it."""
    source = "SOURCE" if Path(options.source).is_dir() else options.source
    return _build(source, [*typed_words(options, but=("source", "vocab_size", "limit")), "--tokenizer", tokenizer])


def _build(source: str, words: Sequence[str]) -> Sequence[str]:
    own = Path(source).suffix in (".toml", ".py")  # most built-in datasets have a test split
    return "build", source, *words, *(["--holdout", "0.1"] if own else []), "--out", f"data/{Path(source).stem}"


def recipe_of_checked(folder: str, manifest: Manifest) -> Sequence[str] | None:
    """`sftkey-train recipe` for a prepared folder, for the model of its tokenizer; None where none can train on it."""
    held_out = manifest.holdout is not None and manifest.holdout.part == "holdout"
    if manifest.tokenizer is None or held_out or "://" in folder:
        return None
    name = manifest.tokenizer.name
    is_model = not Path(name).is_dir() or (Path(name) / "config.json").is_file()
    return "recipe", *(["--model", name] if is_model else []), "--data", folder
