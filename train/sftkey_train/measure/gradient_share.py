"""How much of a step's gradient comes from each region: one more backward pass per region, now and then."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch
from sftkey_train.model.gradient_sums import sum_gradients
from sftkey_train.model.optimizer import clip_gradients

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def gradient_norms(
    model: "PreTrainedModel", batches: Sequence[Batch], loss: Callable[[Batch], Tensor]
) -> dict[str, float]:
    """Norm of the gradient of each region's part of the loss, over all ranks; the parts add up to the step's gradient.

    That is to say, to the gradient of what its tokens cost; a router loss is of no region.

    Call it before the step's own passes, while no parameter holds a gradient. Dropout draws what it will draw in these
    passes, and the random generators are left as they were found, so measuring changes nothing.

    Args:
        model: In training mode.
        batches: The forward passes of the step, on any device.
        loss: One forward pass's share of the loss; it gets the batch with all weights outside the region at zero.

    Returns:
        By region, for those with a weight in the step.
    """
    norms = {}
    for index, region in enumerate(REGIONS):
        parts = [replace(b, weights=torch.where(b.regions == index, b.weights, 0.0)) for b in batches]
        # By the sum over all ranks, so that all of them go on or skip together: they sum gradients below.
        if not ranks.total(sum(float(part.weights.sum()) for part in parts)):
            continue
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            for part in parts:
                loss(part.to(model.device)).backward()
        sum_gradients(model)
        norms[region] = float(clip_gradients(model, math.inf))  # infinite: measured, not clipped
        model.zero_grad(set_to_none=True)
    return norms


def shares(norms: dict[str, float]) -> dict[str, float]:
    """Each norm divided by the sum of all; (3, 1) gives (0.75, 0.25)."""
    total = sum(norms.values())
    return {region: norm / total for region, norm in norms.items()} if total else {}
