"""Whether packing gives what each example gives alone, loss and gradient, tried on real examples before step 1."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from sftkey_data.console import tell
from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch, Example, Examples, collate
from sftkey_train.batches.packing import pack
from sftkey_train.loss.comparison import (
    Precision,
    TwoWays,
    compared_in,
    refuse_other_gradients,
    refuse_other_losses,
)
from sftkey_train.loss.flash_attention import half_where_needed
from sftkey_train.loss.shortcuts import with_other_labels
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.recipe import Stage, Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARITY_EXAMPLES = 4
# What leaks through a convolution or a state that decays is gone a few tokens into an example, so all are predicted.
EVERY_REGION = Weights(prompt=1, cot=1, tag=1, key=1, eos=1)
# In nats: what another document in front may change in a loss behind it. Strict, as a model that has
# learned nothing leaks little; where documents are kept apart, the same numbers are computed.
LEAK = 1e-6


def packs(model: "PreTrainedModel", stage: Stage, examples: Examples, precision: Precision = "fp32") -> bool:
    """Whether a stage packs: as its recipe says, and only where this model keeps packed documents apart.

    `auto` pads on a CPU, where attention over the whole row costs more than padding (`benchmarks/bench_passes.py`).
    """
    wanted = stage.packing == "on" or (stage.packing == "auto" and model.device.type != "cpu")
    if not (stage.max_tokens and wanted and stage.context_gradient):
        return False
    apart = keeps_documents_apart(model, together(examples, stage.max_tokens), precision)
    if not apart:
        tell(
            f"stage {stage.name!r}: {type(model).__name__} does not keep packed examples apart; "
            "examples of similar length are padded instead",
            err=True,
        )
    return apart


def together(examples: Examples, max_tokens: int) -> list[Example]:
    """Examples of other contents that fit in one row: a long one, as a window shows only there, and short ones.

    Where not even the two shortest fit, those two: a stage that packs has then nothing to pack.
    """
    by_length = examples.num_tokens.argsort(kind="stable").tolist()
    short, rest = by_length[: PARITY_EXAMPLES - 1], by_length[PARITY_EXAMPLES - 1 :]
    while len(short) > 2 and examples.num_tokens[short].sum() > max_tokens:
        short.pop()
    room = max_tokens - examples.num_tokens[short].sum()
    longest = [i for i in rest if examples.num_tokens[i] <= room][-1:]
    return [examples[i] for i in (*longest, *short)]


def keeps_documents_apart(model: "PreTrainedModel", examples: Sequence[Example], precision: Precision = "fp32") -> bool:
    """Whether packed examples have the losses and gradients they have alone, whatever they are packed with.

    Tried in fp32, and under bf16 autocast where the run has it, with other labels than the real ones: the gradient of a
    loss near zero would be rounding alone. It draws no random number, and leaves weights and mode as they were.
    """
    alone = [with_other_labels(collate([example], EVERY_REGION), model) for example in examples]
    # The same row with another document in front: what differs behind it has leaked.
    changed = replace(alone[0], input_ids=alone[0].input_ids.flip(1))
    packed, beside_others = (pack([first, *alone[1:]]).to(model.device) for first in (alone[0], changed))
    apart = TwoWays((token_nll, [batch.to(model.device) for batch in alone]), (token_nll, [packed]), "", "")
    try:
        with compared_in(model, precision) as bounds:
            for bound in bounds:
                refuse_other_losses(model, apart, bound)
                refuse_other_gradients(model, apart, bound)
            return _leak(model, packed, beside_others, len(alone[0].labels)) <= LEAK
    except SFTKeyError:
        return False


@torch.no_grad()
def _leak(model: "PreTrainedModel", packed: Batch, beside_others: Batch, own: int) -> float:
    """The greatest change of a loss behind the first document, whose own losses differ, of course."""
    with half_where_needed(model):
        losses, others = (token_nll(model, batch)[own:] for batch in (packed, beside_others))
    return float((losses - others).abs().max())
