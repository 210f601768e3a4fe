"""Trains the demo's tokenizer: a small byte-level BPE on the texts of a prepared data directory.

    sftkey-data build arithmetic --set kind=sums --out DATA
    python train/recipes/demo_tokenizer.py --data DATA --out TOKENIZER
    sftkey-data build arithmetic --set kind=sums --tokenizer TOKENIZER --out DATA_WITH_IDS

Every digit is a token of its own, so that a number is read the same way wherever it stands. A tag like `<Answer>` and
a line break join nothing around them, so that no token straddles the end of the prompt or the start of the Key.
The same data give the same files. AutoTokenizer.from_pretrained loads the directory.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sftkey_data import console
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.shards import open_shards
from sftkey_data.storage.appearing import appearing_folder

EOS, PAD = "<|endoftext|>", "<|pad|>"
ALPHABET_SIZE = 256  # byte-level: every byte is a token, so every text can be encoded
PIECES = r"\p{N}|</?\p{L}+>| ?\p{L}+| ?[^\s\p{L}\p{N}<]+ ?|\s"

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
    table = open_shards(data, columns=["prompt", "completion"])
    texts = (text for name in table.column_names for text in table[name].to_pylist())
    train(texts, vocab_size, out)


def train(texts: Iterator[str], vocab_size: int, out: Path) -> None:
    """Write a tokenizer directory with at most `vocab_size` tokens, learned from `texts`."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread: ties are broken in the same order every time
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD)  # type: ignore[no-untyped-call]
    with appearing_folder(out) as partial:
        fast.save_pretrained(str(partial))


if __name__ == "__main__":
    console.run_program(app)
