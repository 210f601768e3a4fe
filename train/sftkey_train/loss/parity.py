"""Whether a faster way gives what the plain one gives, tried on real examples before the first step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sftkey_data.console import tell
from sftkey_train.batches.batch import Batch, Example, Examples, collate
from sftkey_train.batches.packing import pack
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARITY_EXAMPLES = 3  # one that changes, and two behind it
# In nats: what another document may change in a token's loss, and what packing as such may. The first is strict, as a
# model that has learned nothing leaks little. Where documents are kept apart, packing was seen to change less than 3e-7
# (Llama, Gemma 3, Phi-3, SmolLM3, GPT-2, GPT-NeoX; Falcon, which leaks: 0.46; transformers 5.23).
LEAK, SHIFT = 1e-6, 1e-3


def packs(model: "PreTrainedModel", stage: Stage, examples: Examples) -> bool:
    """Whether a stage packs: as its recipe says, and only where this model keeps packed documents apart.

    `auto` pads on a CPU, where attention over the whole row costs more than padding (`benchmarks/bench_passes.py`).
    """
    wanted = stage.packing == "on" or (stage.packing == "auto" and model.device.type != "cpu")
    if not (stage.max_tokens and wanted and stage.context_gradient):
        return False
    apart = keeps_documents_apart(model, examples.first(PARITY_EXAMPLES))
    if not apart:
        tell(
            f"stage {stage.name!r}: {type(model).__name__} does not keep packed examples apart; "
            "examples of similar length are padded instead",
            err=True,
        )
    return apart


@torch.no_grad()
def keeps_documents_apart(model: "PreTrainedModel", examples: Sequence[Example]) -> bool:
    """Whether packed examples have the losses they have alone, whatever they are packed with; tried on real ones.

    It draws no random number and leaves the model in the mode it was in.
    """
    was_training = model.training
    model.eval()
    weights = LOSS_ON_WEIGHTS["completion"]
    alone = [collate([example], weights) for example in examples]
    # The same row with another document in front: what differs behind it has leaked.
    changed = replace(alone[0], input_ids=alone[0].input_ids.flip(1))
    packed, beside_others = (_losses(model, pack([first, *alone[1:]])) for first in (alone[0], changed))
    expected = torch.cat([_losses(model, batch) for batch in alone])
    model.train(was_training)
    rest = len(alone[0].labels)  # the losses of the document that changes differ, of course
    leak, shift = (packed - beside_others)[rest:].abs(), (packed - expected).abs()
    return bool((leak <= LEAK).all() and (shift <= SHIFT * expected.clamp_min(1)).all())


def _losses(model: "PreTrainedModel", batch: Batch) -> Tensor:
    return token_nll(model, batch.to(model.device))
