"""A small byte-level BPE for models from scratch, learned from the prompts and completions of a dataset.

Every digit is a token of its own, so that a number is read the same way wherever it stands. A tag like `<Answer>` and
a line break join nothing around them, so that no token straddles the end of the prompt or the start of the Key.
The same texts give the same files.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sftkey_data.building.build_config import BuildConfig, TokenizerOptions
from sftkey_data.building.plan import make_plan
from sftkey_data.building.preview import preview
from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.storage.appearing import appearing_folder
from sftkey_data.storage.output_folder import Folder

_EOS, _PAD = "<|endoftext|>", "<|pad|>"
_PIECES = r"\p{N}|</?\p{L}+>| ?\p{L}+| ?[^\s\p{L}\p{N}<]+ ?|\s"
_ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class Trained:
    """A tokenizer that was written: its tokens, the examples it has seen, and by reason the rows that became none."""

    vocab_size: int
    num_examples: int
    rejects: Mapping[str, int]


def train_small_tokenizer(options: TokenizerOptions, out: Path, *, overwrite: bool = False) -> Trained:
    """Write a tokenizer folder that `AutoTokenizer.from_pretrained` loads.

    Args:
        options: What to train on, and how many tokens.
        out: A folder that is not there or is empty.
        overwrite: Or one that sftkey wrote, which is replaced.

    Raises:
        SFTKeyError: The source or the folder is not one to read or write; no row becomes an example.
    """
    folder = Folder(str(out))
    with folder.locked():
        folder.refuse_foreign()
        if not overwrite and folder.exists() and folder.names():
            raise SFTKeyError(f"output folder {out} is not empty: name another --out, or replace it with --overwrite")
        tables, rejects = _examples(options)
        tokenizer, num_examples = _train(tables, options.vocab_size)
        if not num_examples:
            reasons = ", ".join(f"{num} {reason}" for reason, num in rejects.items()) or "none was read"
            raise SFTKeyError(f"{options.source}: no row becomes an example to train on: {reasons}")
        with appearing_folder(out) as partial:
            Folder(str(partial)).mark()
            tokenizer.save_pretrained(str(partial))
    return Trained(len(tokenizer), num_examples, rejects)


def _examples(options: TokenizerOptions) -> tuple[Iterator[pa.Table], Counter[str]]:
    """The examples as a build would write them, and the reasons of rejects, which are counted as the rows are read."""
    reasons = Counter[str]()
    if "://" in options.source or Path(options.source).is_dir():
        if options.inputs or options.split or options.template or options.options:
            given = "--input, --split, --template and --set"
            raise SFTKeyError(f"--train {options.source} is a prepared folder: expected none of {given}")
        return open_prepared(options.source).tables(options.limit), reasons
    if Path(options.source).is_file() and not options.source.endswith((".py", ".toml")):
        raise SFTKeyError(
            f"--train {options.source} is a file of rows, expected what reads it: `--train columns --input "
            f"{options.source}` for columns prompt, cot and key, or ./mine.toml as `sftkey-data map` proposes it"
        )
    plan = make_plan(
        BuildConfig(
            source=options.source,
            inputs=options.inputs,
            split=options.split,
            template=options.template,
            limit=options.limit,
            options=options.options,
        )
    )

    def tables() -> Iterator[pa.Table]:
        for unit in preview(plan, at_a_time=_ROWS_AT_A_TIME):
            reasons.update(reject["reason"] for reject in unit.rejects)
            yield unit.table

    return tables(), reasons


def _train(tables: Iterable[pa.Table], vocab_size: int) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer, and how many examples there were."""
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
    with progress("examples") as bar:

        def texts() -> Iterator[str]:
            for table in tables:
                for name in ("prompt", "completion"):
                    yield from table[name].to_pylist()
                bar.advance(bar.task_ids[0], table.num_rows)

        tokenizer.train_from_iterator(texts(), trainer)
        num_examples = int(bar.tasks[0].completed)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_EOS, pad_token=_PAD), num_examples
