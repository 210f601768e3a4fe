"""Tokens that the data's tokenizer has beyond the model's, such as the tags of a template: found, proven, embedded."""

from typing import TYPE_CHECKING, Any

import torch

from sftkey_data.errors import SFTKeyError
from sftkey_data.tokens.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_tokens_of(other: "PreTrainedTokenizerBase", own: "PreTrainedTokenizerBase") -> list[int]:
    """Give `own` the tokens that were added to it to make `other`, in place, and return their ids, ascending.

    Nothing is given where they do not follow on one another behind all of `own`: then it was something else.
    """
    first, added = len(own), other.added_tokens_decoder
    ids = [id_ for id_ in sorted(added) if id_ >= first]
    if ids != list(range(first, len(other))):
        return []
    own.add_tokens([added[id_] for id_ in ids])
    return ids


def embed_added_tokens(model: "PreTrainedModel", name: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Make room for the tokens that `tokenizer` has beyond that of the model `name`, and begin each as its pieces.

    The row of a token, in the embeddings and in the output layer, is the mean of the rows of the tokens that its text
    was before. A vocabulary that has room to spare (Qwen's) keeps its size. Rows of other tokens stay.

    Args:
        model: As it was loaded, changed in place; nothing is random.
        name: Its directory or hub name.
        tokenizer: Of the data.
    """
    own = load_tokenizer(name)
    first = len(own)
    contents = {id_: str(tokenizer.added_tokens_decoder[id_].content) for id_ in range(first, len(tokenizer))}
    pieces = {id_: own(text, add_special_tokens=False).input_ids for id_, text in contents.items()}
    if len(_rows(model)[0]) < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for rows in _rows(model):
            for id_, before in pieces.items():
                rows[id_] = rows[before].mean(0)


def _rows(model: "PreTrainedModel") -> list[Any]:
    """What has an entry for each token, each tensor once."""
    output: Any = model.get_output_embeddings()
    tensors = (model.get_input_embeddings().weight, output.weight, getattr(output, "bias", None))
    return list({id(tensor): tensor for tensor in tensors if tensor is not None}.values())


def check_added_are_trained(model: "PreTrainedModel") -> None:
    """Refuse, before the first step, an adapter beside which the embeddings of added tokens would stay as they are.

    Raises:
        SFTKeyError: Names what is to be trained, too.
    """
    ends = {id(rows) for rows in _rows(model)}
    names = [name for name, rows in model.named_parameters() if id(rows) in ends and not rows.requires_grad]
    frozen = [name.replace(".base_layer", "").split(".")[-2] for name in names]  # what is tied, by its first name
    if frozen:
        raise SFTKeyError(
            f"model: tags_as_tokens: {' and '.join(map(repr, frozen))} would not learn the new tokens; "
            "name it in lora.modules_to_save"
        )
