"""Teacher-forced measurement on examples that are not trained on, over all regions of the completion."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch, Example, micro_batches
from sftkey_train.loss.token_loss import nll_and_choice
from sftkey_train.measure.loss_tally import LossTally
from sftkey_train.model.sharding import keep_pace
from sftkey_train.recipe import LOSS_ON_WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Few at once: stage 1 and stage 2 are measured on every completion token, also where training needs few logits.
EXAMPLES_AT_ONCE = 16


def heldout_batches(examples: Sequence[Example], pad_token_id: int) -> list[Batch]:
    """This rank's forward passes of a measurement; every token of a completion is predicted, whatever is trained on."""
    return micro_batches(ranks.share(examples), LOSS_ON_WEIGHTS["completion"], EXAMPLES_AT_ONCE, pad_token_id)


@torch.no_grad()
def measure_heldout(model: "PreTrainedModel", batches: Sequence[Batch], logit_bytes: int = 0) -> dict[str, Any]:
    """Loss and forced match per region, over the batches of all ranks: given the gold text before each token.

    A region of an example matches when every one of its tokens is the model's first choice. Examples without a token in
    the region are not counted. That of the Key is no accuracy: the model is given the gold CoT, which leads to it.

    Args:
        model: What is measured; in the mode that it is in afterwards.
        batches: This rank's, see `heldout_batches`.
        logit_bytes: See `linear_nll`.

    Returns:
        `loss_by_region` in nats per token, `forced_match_by_region` and of it `forced_key_match`, from 0 to 1, and
        `examples`: how many there are on all ranks together.
    """
    was_training = model.training
    model.eval()
    tally, matched, present = LossTally(model.device), torch.zeros(len(REGIONS)), torch.zeros(len(REGIONS))
    keep_pace(model, len(batches))  # with FSDP, a rank with fewer batches would leave the others waiting
    for batch in batches:
        on_device = batch.to(model.device)
        nll, chosen = nll_and_choice(model, on_device, logit_bytes=logit_bytes)
        tally.add(on_device, nll)
        has_region, has_miss = _by_example(batch, ~chosen.cpu())
        present += has_region.sum(0)
        matched += (has_region & ~has_miss).sum(0)
    model.train(was_training)
    tally.sum_over_ranks()
    figures = tally.read()
    matches = zip(REGIONS, ranks.add_up(matched).tolist(), ranks.add_up(present).tolist(), strict=True)
    forced_match = {region: hits / num for region, hits, num in matches if num}
    return {
        "loss_by_region": figures.loss_by_region,
        "forced_match_by_region": forced_match,
        "forced_key_match": forced_match["key"],
        "examples": figures.examples,
    }


def _by_example(batch: Batch, missed: Tensor) -> tuple[Tensor, Tensor]:
    """Which examples have a token, and which a missed token, in each region: two of bool, shape (B, regions)."""
    has_region = torch.zeros(len(batch.ids), len(REGIONS), dtype=torch.bool)
    has_miss = has_region.clone()
    has_region[batch.rows, batch.regions] = True
    has_miss[batch.rows[missed], batch.regions[missed]] = True
    return has_region, has_miss
