"""Trains the demo's tokenizer: a small byte-level BPE on the texts of a prepared data directory.

    sftkey-data build arithmetic --set kind=sums --out DATA
    python train/recipes/demo_tokenizer.py --data DATA --out TOKENIZER
    sftkey-data build arithmetic --set kind=sums --tokenizer TOKENIZER --out DATA_WITH_IDS

The same data give the same files. AutoTokenizer.from_pretrained loads the directory.
"""

from pathlib import Path
from typing import Annotated

import typer

from sftkey_data import console
from sftkey_data.errors import SFTKeyError

ALPHABET_SIZE = 256  # byte-level: every byte is a token, so every text can be encoded

app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="prepared data directory, built without --tokenizer")],
    out: Annotated[Path, typer.Option(help="directory to write; must not exist or be empty")],
    vocab_size: Annotated[int, typer.Option(min=ALPHABET_SIZE + 2, help="tokens at most")] = 512,
) -> None:
    """Train a small byte-level BPE tokenizer on the prompts and completions of DATA."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SFTKeyError(f"{out} is not an empty directory, expected a new one for the tokenizer")
    from sftkey_data.build.small_tokenizer import train_tokenizer

    train_tokenizer(data, vocab_size, out)


if __name__ == "__main__":
    console.run_program(app)
