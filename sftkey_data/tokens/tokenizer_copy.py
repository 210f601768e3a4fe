"""The copy of a tokenizer that lies beside the shards."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from sftkey_data.errors import SFTKeyError
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


def save_tokenizer(tokenizer: FastTokenizer, directory: Path) -> None:
    """Write a loadable copy: of a local folder its files, else what transformers saves, checked to encode alike.

    Raises:
        SFTKeyError: The copy does not load back as the same tokenizer.
    """
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
