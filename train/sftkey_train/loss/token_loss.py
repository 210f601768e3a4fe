"""The one loss: weighted next-token log-likelihood, with logits only at the positions that carry weight."""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch
from sftkey_train.batches.region_weights import NoTarget
from sftkey_train.loss.context_cache import answer_inputs, cache_kept_small
from sftkey_train.loss.flash_attention import model_inputs
from sftkey_train.loss.last_layer import last_layer_prunes
from sftkey_train.loss.output_layer import head_answers, head_sees, linear_nll, linear_nll_and_choice, logits_are_plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def token_nll(
    model: "PreTrainedModel",
    batch: Batch,
    *,
    context_gradient: bool = True,
    prune_last_layer: bool = False,
    only_weighted: bool = False,
    logit_bytes: int = 0,
) -> Tensor:
    """Negative log-likelihood of every token that carries weight, fp32 of shape (N,), in nats.

    Under autocast the model computes in half precision, the loss itself in fp32.

    Args:
        model: Any causal language model.
        batch: What to predict.
        context_gradient: Whether what precedes the answer learns too, see `answer_inputs`.
        prune_last_layer: Whether the last layer runs where something is predicted only, see `last_layer_prunes`.
        only_weighted: Whether the loss will be a multiple of their sum times `batch.weights`, see `linear_nll`.
        logit_bytes: See `linear_nll`. Where the model changes its logits (soft-capping), all are held whatever it says.
    """
    if not logits_are_plain(model):
        logits = selected_logits(model, batch, context_gradient=context_gradient, prune_last_layer=prune_last_layer)
        return functional.cross_entropy(logits.float(), batch.labels, reduction="none")
    inputs, positions = _inputs(model, batch, context_gradient=context_gradient)
    nll = partial(linear_nll, labels=batch.labels, weights=batch.weights)

    def losses(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return nll(hidden, weight, bias, only_weighted=only_weighted, logit_bytes=logit_bytes)[:, None]

    with (
        last_layer_prunes(model, positions, when=prune_last_layer),
        head_answers(model, positions, losses),
    ):
        return _output(model, inputs)[0, :, 0]  # (1, N, 1) -> (N,)


@torch.no_grad()
def nll_and_choice(model: "PreTrainedModel", batch: Batch, *, logit_bytes: int = 0) -> tuple[Tensor, Tensor]:
    """Loss of every token to predict, fp32 (N,), in nats, and whether it is the model's first choice, bool (N,)."""
    if not logits_are_plain(model):
        logits = selected_logits(model, batch).float()
        return functional.cross_entropy(logits, batch.labels, reduction="none"), logits.argmax(-1) == batch.labels
    inputs, positions = _inputs(model, batch, context_gradient=True)
    answer = partial(linear_nll_and_choice, labels=batch.labels, logit_bytes=logit_bytes)
    with head_answers(model, positions, answer):
        nll, chosen = _output(model, inputs)[0].unbind(-1)
    return nll, chosen > 0


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


def selected_logits(
    model: "PreTrainedModel", batch: Batch, *, context_gradient: bool = True, prune_last_layer: bool = False
) -> Tensor:
    """Logits that predict `batch.labels`, shape (N, V), scaled and soft-capped where the model does so.

    Raises:
        SFTKeyError: The model names no output layer, or does not use the one it names.
    """
    inputs, positions = _inputs(model, batch, context_gradient=context_gradient)
    with last_layer_prunes(model, positions, when=prune_last_layer), head_sees(model, positions):
        logits = _output(model, inputs)
    if logits.shape[:2] != (1, len(batch.labels)):
        raise SFTKeyError(
            f"model {type(model).__name__} returned logits of shape {tuple(logits.shape)}, expected "
            f"(1, {len(batch.labels)}, V): its output layer is not what get_output_embeddings() names"
        )
    return logits[0]


def _inputs(model: "PreTrainedModel", batch: Batch, *, context_gradient: bool) -> tuple[dict[str, Any], Tensor]:
    """Arguments of the forward pass, and the positions of its flattened hidden states that predict the labels."""
    return (model_inputs(model, batch), batch.positions) if context_gradient else answer_inputs(model, batch)


def _output(model: "PreTrainedModel", inputs: dict[str, Any]) -> Tensor:
    with cache_kept_small(model, when=inputs["use_cache"]):
        logits: Tensor = model(**inputs).logits
    return logits


def sum_by_region(values: Tensor, regions: Tensor, num_regions: int) -> Tensor:
    """Sums of `values` (N,) over the tokens of each region, fp64 of shape (num_regions,)."""
    sums = torch.zeros(num_regions, dtype=torch.float64, device=values.device)
    return sums.index_add_(0, regions, values.detach().double())
