"""What one stage minimises: its weights, normalisation, token loss, placebo and anchor, put together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from sftkey_train import ranks
from sftkey_train.batches.batch import Batch, Example, ExampleOrder, Examples
from sftkey_train.batches.packing import forward_passes
from sftkey_train.batches.placebo import with_placebo
from sftkey_train.batches.region_weights import KEY, weight_by_region
from sftkey_train.loss.anchor import anchor_kl, reference_logits
from sftkey_train.loss.normalisation import normalised_weights, weight_sums
from sftkey_train.loss.schedule import step_weights
from sftkey_train.loss.token_loss import selected_logits, token_nll, weighted_loss
from sftkey_train.recipe import Stage, Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOCAL_GAMMA = 2.0  # what Lin et al. found best


def check_targets(stage: Stage, examples: Examples) -> None:
    """Refuse, before the first step, examples with nothing to learn at either end of the stage, or nothing to anchor.

    Raises:
        SFTKeyError: Names such examples.
    """
    where = f"stage {stage.name!r}"
    examples.check(stage.region_weights, where)
    if stage.weights_end is not None:
        examples.check(stage.weights_end, f"{where} at its last step")
    if stage.anchor:
        examples.check(_each_one(stage.anchored_regions), f"{where}: anchor")


def step_batches(
    stage: Stage,
    examples: Sequence[Example],
    step: int,
    order: ExampleOrder,
    pad_token_id: int,
    *,
    packed: bool = False,
    whole: bool = False,
) -> list[Batch]:
    """This rank's forward passes of one optimizer step, with normalised weights: over all ranks they add up to 1.

    A batch holds the tokens of the stage's target regions and those that are anchored. The first have `anchor` 0, the
    second have `weights` 0.

    Args:
        stage: Its weights, normalisation, placebo and anchor.
        examples: This rank's share of the global batch; it may be empty.
        step: 1 for the first step.
        order: Of the stage; seed and depth are the placebo's, the number of steps the schedule's.
        pad_token_id: What fills short rows.
        packed: See `forward_passes`.
        whole: See `collate`.

    Raises:
        NoTarget: The weights of the batch sum to zero.
    """
    batches = collated_batches(stage, examples, order, pad_token_id, packed=packed, whole=whole)
    return weighted_batches(batches, stage, step, order.num_steps)


def collated_batches(
    stage: Stage,
    examples: Sequence[Example],
    order: ExampleOrder,
    pad_token_id: int,
    *,
    packed: bool = False,
    whole: bool = False,
) -> list[Batch]:
    """The first half of `step_batches`: all but the weights, without a word to other ranks, so in any thread."""
    if stage.placebo:
        examples = [with_placebo(example, order.seed, order.depth) for example in examples]
    # By the regions of the whole stage: where weights move, a token that weighs nothing yet is measured all the same.
    return forward_passes(examples, selected_regions(stage), stage, pad_token_id, packed=packed, whole=whole)


def weighted_batches(batches: Sequence[Batch], stage: Stage, step: int, num_steps: int) -> list[Batch]:
    """The second half of `step_batches`: weights over the batches of all ranks, which must all ask for them."""
    weights = _normalised(batches, step_weights(stage, step, num_steps), stage)
    if not stage.anchor:
        return [replace(batch, weights=w) for batch, w in zip(batches, weights, strict=True)]
    anchors = _normalised(batches, _each_one(stage.anchored_regions), stage)
    return [replace(batch, weights=w, anchor=a) for batch, w, a in zip(batches, weights, anchors, strict=True)]


def selected_regions(stage: Stage) -> Weights:
    """One for each region whose tokens need logits: those that carry loss, and those that are anchored."""
    return _each_one(stage.target_regions + stage.anchored_regions)


def token_costs(
    model: "PreTrainedModel",
    batch: Batch,
    reference: "PreTrainedModel | None" = None,
    *,
    context_gradient: bool = True,
    prune_last_layer: bool = False,
    only_weighted: bool = False,
    logit_bytes: int = 0,
) -> Tensor:
    """What each token costs before any weighting: NLL of a target, KL of an anchored token; fp32 (N,), in nats.

    Args:
        model: The one that is trained.
        batch: From `step_batches`.
        reference: The frozen model the stage started from; needed where the stage has an anchor.
        context_gradient: See `token_nll`; without it there is no anchor.
        prune_last_layer: See `token_nll`.
        only_weighted: See `token_nll`.
        logit_bytes: See `token_nll`; with a reference all logits are held.
    """
    if reference is None:
        how = {"context_gradient": context_gradient, "prune_last_layer": prune_last_layer}
        return token_nll(model, batch, **how, only_weighted=only_weighted, logit_bytes=logit_bytes)
    logits, anchored = selected_logits(model, batch, prune_last_layer=prune_last_layer), batch.anchor > 0
    nll = functional.cross_entropy(logits[~anchored].float(), batch.labels[~anchored], reduction="none")
    kl = anchor_kl(reference_logits(reference, batch), logits[anchored])
    # Each back to its place among the N tokens.
    return torch.zeros_like(batch.anchor).masked_scatter(~anchored, nll).masked_scatter(anchored, kl)


def batch_loss(costs: Tensor, batch: Batch, stage: Stage) -> Tensor:
    """One forward pass's share of the loss of its step: weighted token losses, and `anchor` times the mean KL.

    Args:
        costs: From `token_costs`, shape (N,).
        batch: From `step_batches`, whose weights are normalised.
        stage: Its `token_loss` and `anchor`.
    """
    loss = weighted_loss(token_loss(costs, batch.roles == KEY, stage), batch.weights)
    return loss + stage.anchor * weighted_loss(costs, batch.anchor) if stage.anchor else loss


def token_loss(nll: Tensor, is_key: Tensor, stage: Stage) -> Tensor:
    """What each token costs by the stage's `token_loss`, shape (N,).

    `nll` is the NLL itself. `dft` is the NLL times the token's probability p as a constant (arXiv 2508.05629): its
    gradient is that of -p, the policy gradient that DFT sets out from. `focal` is `(1 - p)^gamma` times the NLL on the
    tokens of the Key and the NLL on all others; as in Lin et al. (arXiv 1708.02002) it is a loss that is differentiated
    whole, factor and all.

    Worked: a token of probability 1/4 costs ln 4 = 1.386 by `nll` and 1.386 / 4 = 0.347 by `dft`, and its gradient is
    a quarter of that of `nll`. By `focal` with gamma 2 it costs (3/4)^2 * 1.386 = 0.780, and its gradient is that of
    `nll` times (3/4)^2 + 2 * 3/4 * 1/4 * 1.386 = 1.082.

    Args:
        nll: Shape (N,), in nats.
        is_key: Bool (N,): the tokens that carry the Key's weight, which are those of a placebo where there is one.
        stage: Its `token_loss` and `focal_gamma`.
    """
    match stage.token_loss:
        case "nll":
            return nll
        case "dft":
            return nll * torch.exp(-nll.detach())
        case "focal":
            # 1 - p without cancellation. Not 0, as the slope of a power below 1 is infinite there, and inf * 0 is NaN.
            wrong = (-torch.expm1(-nll)).clamp_min(torch.finfo(nll.dtype).tiny)
            return torch.where(is_key, wrong ** (stage.focal_gamma or FOCAL_GAMMA) * nll, nll)
        case _:
            assert_never(stage.token_loss)


def _normalised(batches: Sequence[Batch], weights: Weights, stage: Stage) -> list[Tensor]:
    by_region = weight_by_region(weights)
    # A rank without an example comes here, too: its sums are zero, and the others wait for them.
    sums = ranks.add_up(weight_sums(batches, by_region))
    return [normalised_weights(batch, by_region, sums, stage.normalisation) for batch in batches]


def _each_one(regions: Sequence[str]) -> Weights:
    return Weights(**dict.fromkeys(regions, 1.0))
