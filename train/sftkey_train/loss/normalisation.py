"""By what the weighted losses of a step are divided: `token`, `example` or `region`, over the global batch.

Every way comes down to one factor per token, known before the first forward pass; the loss of the step is the sum of
factor times loss over all tokens, so it does not matter how the batch is split into forward passes or ranks.

Worked: example A has CoT tokens that cost (1, 1, 1) and a Key that costs 4; B has one CoT token that costs 2 and Key
tokens that cost (0, 1). The weights are 1 on the CoT and 3 on the Key.

- `token`: all weighted losses over all weights, (3 + 12 + 2 + 3) / (3 + 3 + 1 + 6) = 20/13.
- `example`: the mean of each example's own weighted mean, ((3 + 12) / 6 + (2 + 3) / 7) / 2 = 45/28.
- `region`: each region's weighted mean, times its weight's share of the sum of weights of the regions that occur:
  the CoT costs 5/4 a token and the Key 5/3, so 1/4 * 5/4 + 3/4 * 5/3 = 25/16, however long the CoT is. With one
  region only this is `token`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train.batches.batch import Batch
from sftkey_train.batches.region_weights import NoTarget
from sftkey_train.loss.token_loss import sum_by_region
from sftkey_train.recipe import Normalisation


def weight_sums(batches: Sequence[Batch], by_region: Tensor) -> Tensor:
    """What the global batch is normalised by: plain sums, so those of several ranks are added (all-reduced).

    Args:
        batches: The forward passes of one step on one rank.
        by_region: Weight per region, shape (regions,).

    Returns:
        fp64 of shape (regions + 1,): sum of the weights of each region's tokens, then the number of examples.
    """
    sums = torch.zeros(len(REGIONS) + 1, dtype=torch.float64)
    for batch in batches:
        sums[:-1] += sum_by_region(by_region[batch.roles], batch.roles, len(REGIONS))
        sums[-1] += len(batch.ids)
    return sums


def normalised_weights(batch: Batch, by_region: Tensor, sums: Tensor, normalisation: Normalisation) -> Tensor:
    """The factor of every token of one forward pass, fp32 of shape (N,); over the global batch they add up to 1.

    Args:
        batch: One forward pass, whose tokens weigh what their `roles` weigh.
        by_region: Weight per region, shape (regions,).
        sums: `weight_sums` of the *global* batch.
        normalisation: See the head of this module.

    Raises:
        NoTarget: The weights of the batch, or with `example` those of one example, sum to zero.
    """
    by_region, by_role = by_region.double(), sums[:-1]
    if by_role.sum() <= 0:
        raise NoTarget("the weights of a batch sum to zero, so there would be nothing to learn")
    weights = by_region[batch.roles]
    match normalisation:
        case "token":
            factors = weights / by_role.sum()
        case "example":
            factors = weights / (_sum_by_example(batch, weights)[batch.rows] * sums[-1])
        case "region":
            share = by_region * (by_role > 0)
            # One over the number of the region's tokens: 4 of them at weight 3 sum to 12, and 3 / 12 is 1 / 4.
            mean = torch.where(by_role > 0, by_region / by_role, 0.0)
            factors = (mean * share / share.sum())[batch.roles]
    return factors.float()


def _sum_by_example(batch: Batch, weights: Tensor) -> Tensor:
    sums = torch.zeros(len(batch.ids), dtype=torch.float64).index_add_(0, batch.rows, weights)
    if (sums <= 0).any():
        raise NoTarget(f"example {batch.ids[int(sums.argmin())]!r}: all weights are zero, so there is no mean")
    return sums
