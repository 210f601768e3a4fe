"""NEFTune (arXiv 2310.05914): uniform noise on the embeddings of the tokens that are trained on."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch
from sftkey_train.loss.output_layer import logits_are_plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def noisy_embeddings(model: "PreTrainedModel", batch: Batch, alpha: float, seed: int, step: int) -> Iterator[None]:
    """While open, the input embeddings of a forward pass over `batch` have noise added; nothing where `alpha` is 0.

    Open it around the step's own passes alone: held-out measurements, generation and the anchor's reference have none.

    Args:
        model: On the batch's device.
        batch: What the pass reads.
        alpha: NEFTune's.
        seed: That of the stage.
        step: Of the optimizer; each has its own noise.

    Raises:
        SFTKeyError: The model embeds other tokens than those of the batch.
    """
    if not alpha:
        yield
        return
    logits_are_plain(model)  # tries the model out once, on a token that is not of the batch

    def add(_embedding: Any, _args: Any, output: Tensor) -> Tensor:
        if output.shape[:-1] != batch.input_ids.shape:
            found = f"embeds tokens of shape {tuple(output.shape[:-1])}, expected {tuple(batch.input_ids.shape)}"
            raise SFTKeyError(f"neftune_alpha: {type(model).__name__} {found}; leave it out")
        # Elsewhere noise of zero, also in padding, which no token attends to.
        noise = torch.zeros_like(output).flatten(0, 1)
        noise[batch.is_real] = embedding_noise(batch, output.shape[-1], alpha, seed, step, output.device).to(output)
        return output + noise.view_as(output)

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def embedding_noise(batch: Batch, size: int, alpha: float, seed: int, step: int, device: torch.device) -> Tensor:
    """Noise for each token that is no padding, fp32 (sum of `batch.lengths`, size), in the order of the examples.

    In an example of L tokens it is uniform in +-alpha / sqrt(L * size), so its norm over the whole example is alpha /
    sqrt(3), as of the paper: worked, alpha 5, 100 tokens of size 400 give +-5 / 200 = 0.025. L counts the tokens that
    are read of it. The noise follows from seed, step and the example's id: it is the same after a resume, however the
    batch is split or packed, and whichever rank it is on; no other random number is drawn for it.
    """
    parts = []
    for id_, num_tokens in zip(batch.ids, batch.lengths.tolist(), strict=True):
        generator = torch.Generator(device).manual_seed(_drawn_from(seed, step, id_))
        bound = alpha / (num_tokens * size) ** 0.5
        drawn = torch.empty(num_tokens, size, device=device)
        parts.append(drawn.uniform_(-bound, bound, generator=generator))
    return torch.cat(parts)


def _drawn_from(seed: int, step: int, id_: str) -> int:
    digest = hashlib.sha256(id_.encode()).digest()  # not `hash`, which differs between processes
    return int(np.random.SeedSequence([seed, step, int.from_bytes(digest[:8], "big")]).generate_state(1, np.uint64)[0])
