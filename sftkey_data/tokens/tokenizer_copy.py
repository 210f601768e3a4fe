"""The copy of a tokenizer that lies beside the shards; its EOS is what ends every example."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.storage.file_bytes import exists, open_read
from sftkey_data.tokens.tokenizer import FastTokenizer, load_tokenizer, tokenizer_fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "config.json",
)
"""What `AutoTokenizer` may read; copied as they are, they load as the original does."""


def has_chat_template(directory: str) -> bool:
    """Whether a copy, local or by URL, carries a chat template: in a file, or in its configuration as older ones do."""
    if any(exists(f"{directory}/{name}") for name in TOKENIZER_FILES if name.startswith("chat_template")):
        return True
    path = f"{directory}/tokenizer_config.json"
    if not exists(path):
        return False
    with open_read(path) as file:
        return "chat_template" in json.load(file)


def save_tokenizer(tokenizer: FastTokenizer, directory: Path, end_token: int) -> None:
    """Write a loadable copy: of a local folder its files, else what transformers saves, checked to encode alike.

    Args:
        tokenizer: What to copy.
        directory: Where to; made if missing.
        end_token: The copy's EOS; only where it is another than the tokenizer's do the files differ from its own.

    Raises:
        SFTKeyError: The copy does not load back as the same tokenizer with this EOS.
    """
    _copy_tokenizer(tokenizer, directory)
    if end_token == tokenizer.eos_token_id:
        return
    _name_eos(tokenizer, directory, str(tokenizer.added_tokens_decoder[end_token].content))
    copy = load_tokenizer(str(directory))
    if copy.eos_token_id != end_token or tokenizer_fingerprint(copy) != tokenizer_fingerprint(tokenizer):
        raise SFTKeyError(
            f"tokenizer {tokenizer.name_or_path!r} cannot be copied with the end token {end_token}: "
            f"the copy loads with {copy.eos_token_id}, or encodes otherwise"
        )


def _copy_tokenizer(tokenizer: FastTokenizer, directory: Path) -> None:
    origin = Path(tokenizer.name_or_path)
    if (origin / "tokenizer.json").is_file():
        directory.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            if (origin / name).is_file():
                (directory / name).write_bytes((origin / name).read_bytes())
        return
    cast("PreTrainedTokenizerBase", tokenizer).save_pretrained(str(directory))  # no folder: transformers loaded it
    if tokenizer_fingerprint(load_tokenizer(str(directory))) != tokenizer_fingerprint(tokenizer):
        raise SFTKeyError(
            f"tokenizer {tokenizer.name_or_path!r} does not survive saving and loading, so no copy can be trusted"
        )


def _name_eos(tokenizer: FastTokenizer, directory: Path, content: str) -> None:
    template, eos = getattr(tokenizer, "chat_template", None), getattr(tokenizer, "eos_token", None)
    if isinstance(template, str) and "eos_token" in template:  # it goes on writing what it wrote
        before = f"{{% set eos_token = {json.dumps(eos, ensure_ascii=False)} %}}\n"  # transformers drops the line end
        (directory / "chat_template.jinja").write_text(before + template, encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = directory / name
        if path.is_file() or name == "tokenizer_config.json":
            values = read_json_file(path) if path.is_file() else {}
            text = json.dumps(values | {"eos_token": content}, indent=2, ensure_ascii=False)
            path.write_text(f"{text}\n", encoding="utf-8")
