"""The targets of a padded batch in the form of `batches`, so that one normalisation serves both loops."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train.batches.batch import Batch
from sftkey_train.trl.region_collator import NO_REGION, REGIONS_KEY


def padded_targets(sample: Mapping[str, Any], target_regions: Collection[str]) -> Batch:
    """The tokens of a padded batch that are in these regions, each predicted from the one before it.

    Args:
        sample: From `RegionCollator`, B rows of T tokens.
        target_regions: Names of regions.
    """
    input_ids, regions = sample["input_ids"].cpu(), sample[REGIONS_KEY].cpu()
    wanted = torch.tensor([region in target_regions for region in REGIONS])
    is_target = (regions != NO_REGION) & wanted[regions.clamp_min(0)]
    is_target[:, 0] = False  # nothing precedes it
    rows, tokens = is_target.nonzero(as_tuple=True)
    return Batch(
        ids=tuple(f"row {row} of a batch" for row in range(len(input_ids))),
        input_ids=input_ids,
        rows=rows,
        positions=rows * input_ids.shape[1] + tokens - 1,
        labels=input_ids[is_target],
        weights=torch.ones(len(rows)),
        anchor=torch.zeros(len(rows)),
        regions=regions[is_target],
        roles=regions[is_target],
        lengths=(regions != NO_REGION).sum(1),
        num_tokens=int((regions != NO_REGION).sum()),
    )


def spread_weights(batch: Batch, factors: Tensor) -> Tensor:
    """The factors of a batch's targets, each where its token stands in the rows: (N,) -> (B, T), zero elsewhere."""
    spread = torch.zeros(batch.input_ids.numel())
    spread[batch.positions + 1] = factors
    return spread.view(batch.input_ids.shape)
