"""From the region borders of an example to the loss weight of each of its tokens."""

from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from sftkey_data.errors import SFTKeyError
from sftkey_data.schema import REGIONS
from sftkey_train.recipe import Weights

PROMPT, COT, TAG, KEY, EOS = range(len(REGIONS))


class NoTarget(SFTKeyError):  # noqa: N818 - says what is missing, as the design names it
    """All weights are zero, so there would be nothing to learn."""


@dataclass(frozen=True, slots=True)
class RegionBorders:
    """Token positions in `input_ids` where the regions of one example begin and end, see schema version 1."""

    prompt_tokens: int
    cot_token_end: int
    key_token_start: int
    key_token_end: int
    answer_token_end: int
    num_tokens: int


def token_regions(borders: RegionBorders) -> Tensor:
    """The region of every token as an index into `REGIONS`, int64 of shape (T,)."""
    ends = astuple(borders)
    lengths = [end - start for start, end in zip((0, *ends), ends, strict=False)]
    # The tags on both sides of the Key are one region, in two runs of tokens.
    # Not torch's repeat_interleave, which wakes its threads for every example: 70 times slower on a busy machine.
    return torch.from_numpy(np.repeat(np.array([PROMPT, COT, TAG, KEY, TAG, EOS]), lengths))


def weight_by_region(weights: Weights) -> Tensor:
    """The weights in the order of `REGIONS`, fp32 of shape (regions,)."""
    return torch.tensor([getattr(weights, region) for region in REGIONS], dtype=torch.float32)


def region_weights(borders: RegionBorders, weights: Weights, roles: Tensor | None = None) -> Tensor:
    """Loss weight of every token of one example.

    Args:
        borders: Where the regions begin and end.
        weights: Weight per region, each >= 0.
        roles: The region whose weight each token carries, int64 of shape (T,); by default its own.

    Returns:
        Float tensor of shape (T,), aligned with `input_ids`: entry t is the weight of *predicting* token t, which is
        read off the hidden state at t - 1. Entry 0 is zero, as nothing precedes the first token.

    Raises:
        NoTarget: All weights are zero, so the example would train on nothing.
    """
    by_token = weight_by_region(weights)[token_regions(borders) if roles is None else roles]
    by_token[:1] = 0.0  # a slice, as an example may have no token
    if not by_token.any():
        raise NoTarget("all weights are zero, so there would be nothing to learn")
    return by_token
