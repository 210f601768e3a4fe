"""Teacher-forced measurement on examples that are not trained on, over all regions of the completion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from sftkey_train.batches import Batch, Example, micro_batches
from sftkey_train.loss import selected_logits
from sftkey_train.recipe import LOSS_ON
from sftkey_train.tally import Tally
from sftkey_train.weights import KEY

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Few at once: stage 1 and stage 2 are measured on every completion token, also where training needs few logits.
EXAMPLES_AT_ONCE = 16


def heldout_batches(examples: Sequence[Example], pad_token_id: int) -> list[Batch]:
    """The forward passes of one measurement; every token of the completion is predicted, whatever is trained on."""
    return micro_batches(examples, LOSS_ON["completion"], EXAMPLES_AT_ONCE, pad_token_id) if examples else []


@torch.no_grad()
def measure(model: "PreTrainedModel", batches: Sequence[Batch]) -> dict[str, Any]:
    """Loss per region and the share of examples whose whole Key is the model's first choice, given the gold CoT."""
    was_training = model.training
    model.eval()
    tally, num_exact = Tally(), 0
    for batch in batches:
        on_device = batch.to(model.device)
        logits = selected_logits(model, on_device).float()
        tally.add(on_device, functional.cross_entropy(logits, on_device.labels, reduction="none"))
        missed = (logits.argmax(-1) != on_device.labels) & (on_device.regions == KEY)
        num_exact += len(batch.ids) - len(on_device.rows[missed].unique())
    model.train(was_training)
    return {
        "loss_by_region": tally.loss_by_region,
        "key_exact_match": num_exact / tally.examples,
        "examples": tally.examples,
    }
