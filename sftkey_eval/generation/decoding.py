"""Sampling in which every row of a batch has a random stream of its own."""

from collections.abc import Sequence
from typing import cast

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sftkey_eval.generation.sampling import Sampling


class SeededSampling(LogitsProcessor):
    """Makes greedy decoding sample: the argmax of logits plus Gumbel noise is a sample of their softmax.

    Transformers' `do_sample` draws for all rows from one stream, so a completion would depend on its neighbours in the
    batch. Here minus the logarithm of an exponential number is added, which is Gumbel noise.

    Args:
        seeds: Of each row of the batch; one call per generated token advances them all.
        sampling: Temperature above 0, top-k and top-p.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        self._seeds = seeds
        self._generators: list[torch.Generator] = []
        self._warpers = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
        if sampling.top_k > 0:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (B, V) with noise; what top-k and top-p cut off stays at minus infinity."""
        # Float32 noise is 0 once in 2^24 draws, and its logarithm would then choose that token whatever its score.
        place = torch.device("cpu") if scores.device.type == "mps" else scores.device  # mps has no float64
        if not self._generators:
            self._generators = [torch.Generator(place).manual_seed(seed) for seed in self._seeds]
        warped = self._warpers(input_ids, scores)
        waits = torch.empty(scores.shape, dtype=torch.float64, device=place)
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        return cast(torch.FloatTensor, warped - waits.log_().to(scores))
