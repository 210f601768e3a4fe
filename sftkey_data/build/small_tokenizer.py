"""A small byte-level BPE for models from scratch on generated data.

Every digit is a token of its own, so that a number is read the same way wherever it stands. A tag like `<Answer>` and
a line break join nothing around them, so that no token straddles the end of the prompt or the start of the Key.
The same texts give the same files.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sftkey_data.prepared.shards import open_shards
from sftkey_data.storage.appearing import appearing_folder

_EOS, _PAD = "<|endoftext|>", "<|pad|>"
_PIECES = r"\p{N}|</?\p{L}+>| ?\p{L}+| ?[^\s\p{L}\p{N}<]+ ?|\s"


def train_tokenizer(data: Path, vocab_size: int, out: Path) -> None:
    """Write a tokenizer folder with at most `vocab_size` tokens, learned from the texts of a prepared folder."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread: ties are broken in the same order every time
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_EOS, _PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # every byte is a token: any text can be encoded
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(data), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_EOS, pad_token=_PAD)
    with appearing_folder(out) as partial:
        fast.save_pretrained(str(partial))


def _texts(data: Path) -> Iterator[str]:
    table = open_shards(data, columns=["prompt", "completion"])
    return (text for name in table.column_names for text in table[name].to_pylist())
