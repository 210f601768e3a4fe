"""A prepared directory as training needs it: its examples, and the tokenizer they were made with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, TOKENIZER_FOLDER, file_sha256, read_manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.schema import TOKEN_BORDERS
from sftkey_data.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from sftkey_train.batches.batch import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """One prepared directory.

    `sha256` is that of its manifest, which holds the hash of everything else; `fingerprint` is the tokenizer's.
    The EOS of `tokenizer` ends every example.
    """

    path: Path
    sha256: str
    fingerprint: str
    tokenizer: "PreTrainedTokenizerBase"
    examples: Examples


def read_training_set(directory: Path) -> TrainingSet:
    """Open a prepared directory after checking the hash of every shard and the tokenizer beside them.

    Raises:
        SFTKeyError: It is no prepared directory, it holds no tokens or no examples, or something in it was changed.
    """
    recorded = read_manifest(directory).tokenizer
    if recorded is None:
        raise SFTKeyError(f"{directory} holds no tokens, expected a build with --tokenizer")
    with open_prepared(directory).tokenizer_folder() as folder:
        tokenizer = load_tokenizer(str(folder))
    if (found := tokenizer_fingerprint(tokenizer)) != recorded.fingerprint:
        raise SFTKeyError(
            f"{directory / TOKENIZER_FOLDER} is not the tokenizer the shards were made with: "
            f"fingerprint {found[:12]}…, the manifest says {recorded.fingerprint[:12]}…"
        )
    if tokenizer.eos_token_id != recorded.eos_token_id:
        raise SFTKeyError(
            f"{directory / TOKENIZER_FOLDER}: the EOS is {tokenizer.eos_token!r}, "
            f"but the manifest says that {recorded.end_token!r} ends the examples"
        )
    # Every shard is hashed once, here; from then on rows are read from the mapped files as they are needed.
    examples = Examples(open_shards(directory, columns=["id", "input_ids", *TOKEN_BORDERS], verify=True))
    if not len(examples):
        raise SFTKeyError(f"{directory} holds no examples")
    return TrainingSet(directory, file_sha256(directory / MANIFEST), found, tokenizer, examples)


def refuse_other_tokens(what: str, other: TrainingSet, data: TrainingSet) -> None:
    """Refuse a set that a run cannot use beside its data: its ids mean other texts, or its examples end otherwise.

    Args:
        what: The other set, for the message.
        other: Of a stage, or held out.
        data: The run's.

    Raises:
        SFTKeyError: Names both.
    """
    if other.fingerprint != data.fingerprint:
        raise SFTKeyError(f"{what} {other.path} was made with another tokenizer than data {data.path}")
    if other.tokenizer.eos_token_id != data.tokenizer.eos_token_id:
        raise SFTKeyError(
            f"{what} {other.path} ends its examples with {other.tokenizer.eos_token!r}, "
            f"data {data.path} with {data.tokenizer.eos_token!r}: build both with --chat, or both without"
        )
