"""How the tokens of a batch are chosen: row by row, each with a random stream of its own, and each until it has ended.

`generate` of transformers goes on with all rows of a batch until the last one has ended: of completions of different
lengths, half of the work is thrown away. Here a row leaves the batch as it ends.
"""

import inspect
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from transformers import (
    DynamicCache,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
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

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch alone, each with its stream as far as that has come."""
        self._generators = [self._generators[row] for row in rows]


def can_shrink(model: PreTrainedModel) -> bool:
    """Whether `decode` gives what `generate` would: the family prepares its inputs in no way of its own.

    Its cache has to be keys and values alone, as recurrent states, which some layers keep, cannot be divided by rows.
    """
    kind: Any = type(model)
    own = ("prepare_inputs_for_generation", "_update_model_kwargs_for_generation", "_prepare_cache_for_generation")
    if any(getattr(kind, name) is not getattr(GenerationMixin, name) for name in own):
        return False
    if model.config.is_encoder_decoder or not kind._supports_default_dynamic_cache():
        return False
    return "past_key_values" in _arguments(model) and not any(_cache(model).is_linear)


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: torch.Tensor,
    mask: torch.Tensor,
    *,
    ends: Collection[int],
    max_new_tokens: int,
    sampler: SeededSampling | None = None,
) -> list[list[int]]:
    """The ids that the model writes behind each prompt, up to an end, which is among them, or to the limit.

    Args:
        model: One that `can_shrink`.
        prompts: Ids (B, T), padded on the left.
        mask: (B, T), 0 where padding is.
        ends: Ids that end a completion.
        max_new_tokens: Limit per completion, at least 1.
        sampler: By default the likeliest token is written.
    """
    width = prompts.shape[1]
    mask = torch.nn.functional.pad(mask, (0, max_new_tokens), value=1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    accepted, cache = _arguments(model), _cache(model)
    written: list[list[int]] = [[] for _ in prompts]
    rows, tokens = list(range(len(prompts))), prompts
    for seen in range(width, width + max_new_tokens):
        given = {
            "attention_mask": mask[:, :seen],
            "position_ids": positions[:, seen - tokens.shape[1] : seen],
            "logits_to_keep": 1,
        }
        known = {name: value for name, value in given.items() if name in accepted}
        scores = model(input_ids=tokens, past_key_values=cache, use_cache=True, **known).logits[:, -1].float()
        if sampler is not None:
            scores = sampler(cast(torch.LongTensor, tokens), scores)
        chosen = scores.argmax(-1)
        new = chosen.tolist()
        for row, token in zip(rows, new, strict=True):
            written[row].append(token)
        going_on = [place for place, token in enumerate(new) if token not in ends]
        if not going_on:
            break
        if len(going_on) < len(rows):
            kept = torch.tensor(going_on, device=chosen.device)
            cache.batch_select_indices(kept)
            mask, positions, chosen = mask[kept], positions[kept], chosen[kept]
            rows = [rows[place] for place in going_on]
            if sampler is not None:
                sampler.keep(going_on)
        tokens = chosen[:, None]
    return written


def _cache(model: PreTrainedModel) -> DynamicCache:
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def _arguments(model: PreTrainedModel) -> Collection[str]:
    parameters: Any = inspect.signature(model.forward).parameters
    return set(parameters)
