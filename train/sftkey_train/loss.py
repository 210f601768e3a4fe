"""The one loss: weighted next-token log-likelihood, with logits only at the positions that carry weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sftkey_data.errors import SFTKeyError
from sftkey_train.weights import NoTarget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sftkey_train.batches import Batch


def token_nll(model: "PreTrainedModel", batch: "Batch") -> Tensor:
    """Negative log-likelihood of every token that carries weight, fp32 of shape (N,), in nats."""
    logits = selected_logits(model, batch)
    return functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def weighted_loss(nll: Tensor, weights: Tensor, normaliser: float = 1.0) -> Tensor:
    """One micro-batch's share of the loss: `sum(weights * nll) / normaliser`.

    Worked: nll (1, 2) with weights (1, 3) in one micro-batch and nll (4,) with weight (1,) in another, normaliser
    1 + 3 + 1 = 5: shares 7/5 and 4/5, loss 11/5 for the step, however the batch was split.

    Args:
        nll: What each token costs, shape (N,).
        weights: Per token, shape (N,).
        normaliser: Sum of the weights over the *global* batch of the optimizer step; 1 where the weights are
            normalised already.

    Raises:
        NoTarget: The normaliser is zero: a batch without a target is an error, never a loss of 0.0.
    """
    if normaliser <= 0:
        raise NoTarget("the weights of a batch sum to zero, so there would be nothing to learn")
    return (weights * nll).sum() / normaliser


def selected_logits(model: "PreTrainedModel", batch: "Batch") -> Tensor:
    """Logits that predict `batch.labels`, shape (N, V), scaled and soft-capped where the model does so.

    No attention mask is passed: padding is to the right of every real token, so causal attention never reaches it.
    """
    with _head_sees(model, batch.positions):
        logits: Tensor = model(input_ids=batch.input_ids, use_cache=False).logits
    if logits.shape[:2] != (1, len(batch.labels)):
        raise SFTKeyError(
            f"model {type(model).__name__} returned logits of shape {tuple(logits.shape)}, expected "
            f"(1, {len(batch.labels)}, V): its output layer is not what get_output_embeddings() names"
        )
    return logits[0]


@contextmanager
def _head_sees(model: "PreTrainedModel", positions: Tensor) -> Iterator[None]:
    """While open, the output layer gets hidden states (1, N, H) instead of (B, T, H); `positions` index B * T."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise SFTKeyError(f"model {type(model).__name__} names no output layer, expected a causal language model")

    def select(_head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = args[0]
        return (hidden.flatten(0, 1).index_select(0, positions).unsqueeze(0), *args[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def sum_by_region(values: Tensor, regions: Tensor, num_regions: int) -> Tensor:
    """Sums of `values` (N,) over the tokens of each region, fp64 of shape (num_regions,)."""
    sums = torch.zeros(num_regions, dtype=torch.float64, device=values.device)
    return sums.index_add_(0, regions, values.detach().double())
