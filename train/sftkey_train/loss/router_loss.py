"""The load-balancing loss of a mixture of experts, where the model's configuration asks for it: of the global batch.

The loss is E times the sum over E experts of the share of choices that fell on an expert times its mean probability
(Fedus et al., arXiv 2101.03961), over all layers and all tokens that are no padding, as transformers has it. As a
product of two means it is no sum over forward passes. So that it does not depend on how a batch is split, the choices
are counted over all passes of all ranks first, without gradient (arXiv 2501.11873 shows that this also learns better);
the share of each pass is then exact, and the shares add up.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from sftkey_data.errors import SFTKeyError
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch, Examples, collate
from sftkey_train.loss.comparison import (
    Precision,
    TwoWays,
    compared_in,
    refuse_other_gradients,
    refuse_other_losses,
)
from sftkey_train.loss.flash_attention import model_inputs
from sftkey_train.loss.output_layer import head_sees
from sftkey_train.loss.shortcuts import extremes
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")  # most families; JetMoe


def router_coefficient(config: "PreTrainedConfig") -> float:
    """What the loss is multiplied by before it is added; 0 where the configuration or the family has none."""
    fields = config.get_text_config()
    if not getattr(fields, "output_router_logits", False) or not getattr(fields, "is_moe", True):  # Doge can be dense
        return 0.0
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        family = sys.modules[MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__module__]
        if not hasattr(family, "load_balancing_loss_func"):  # gives its routers' logits, and makes no loss of them
            return 0.0
    fallback = getattr(getattr(fields, "ffn_config", None), "moe_loss_weight", 0.0)  # DBRX
    return float(next((getattr(fields, name) for name in COEFFICIENTS if hasattr(fields, name)), fallback) or 0.0)


def check_router_options(stage: Stage, coefficient: float, *, sharded: bool) -> None:
    """Refuse options that the loss does not go with: those that leave out tokens it is made of, and shares of weights.

    Raises:
        SFTKeyError: Names the option and the coefficient.
    """
    if not coefficient:
        return
    asked = f"the model's router loss (its config has output_router_logits, with a coefficient of {coefficient:g})"
    for option, used in (
        ("context_gradient = false", not stage.context_gradient),
        ("prune_last_layer", stage.prune_last_layer),
    ):
        if used:
            raise SFTKeyError(f"stage {stage.name!r}: {option} leaves out tokens of {asked}; leave the option out")
    if sharded:  # a router's weight is given back before the loss has its gradient
        raise SFTKeyError(f"fsdp does not go with {asked}; leave it out, and each process holds the whole model")


@dataclass(frozen=True, slots=True)
class Routing:
    """Where the tokens of some forward passes went, added up over layers and tokens that are no padding."""

    chosen: Tensor  # (E,), how often each expert was among those chosen; no gradient reaches it
    probability: Tensor  # fp32 (E,), sum of the probabilities that the routers gave it
    num: Tensor  # scalar: tokens times layers

    @property
    def loss(self) -> Tensor:
        """Of these passes alone."""
        return self.share_of(self)

    def share_of(self, whole: "Routing") -> Tensor:
        """What these passes add to the loss of `whole`, which counts them and others.

        Worked: 2 experts, one chosen; one pass of 1 token has chosen (1, 0), probabilities (3/4, 1/4), another (0, 1)
        and (1/4, 3/4). Together chosen (1, 1) and probabilities (1, 1) of 2 tokens: 2 * (1/2 * 1/2 + 1/2 * 1/2) = 1,
        of which each pass has 1/2. Alone, each would have 2 * 3/4.
        """
        chosen, num = whole.chosen.to(self.probability), whole.num.to(self.probability)
        return (chosen / num * self.probability / num).sum() * len(self.probability)


@contextmanager
def routers_seen(model: "PreTrainedModel", *, when: bool = True) -> Iterator[list[tuple[Tensor, ...]]]:
    """While open, each forward pass leaves its routers' logits, (B * T, E) a layer, as the list's one entry."""
    seen: list[tuple[Tensor, ...]] = []
    if not when:
        yield seen
        return

    def see(_model: Any, _args: Any, output: Any) -> None:
        seen[:] = [output.router_logits]

    handle = model.register_forward_hook(see)
    try:
        yield seen
    finally:
        handle.remove()


def routing(model: "PreTrainedModel", batch: Batch, router_logits: Sequence[Tensor]) -> Routing:
    """Where the tokens of one forward pass went.

    Args:
        model: Says how many experts are chosen.
        batch: Of the pass; on the model's device.
        router_logits: From `routers_seen`.
    """
    is_real, num_chosen, num_experts = batch.is_real, cast(int, model.num_experts_per_tok), router_logits[0].shape[-1]
    by_layer = [logits.flatten(0, -2)[is_real].softmax(-1) for logits in router_logits]
    places = [probabilities.topk(num_chosen, dim=-1).indices.flatten() for probabilities in by_layer]
    chosen = torch.stack([torch.bincount(layer, minlength=num_experts) for layer in places]).sum(0)
    probability = torch.stack([probabilities.float().sum(0) for probabilities in by_layer]).sum(0)
    return Routing(chosen, probability, is_real.sum() * len(by_layer))


@torch.no_grad()
def whole_routing(
    model: "PreTrainedModel",
    batches: Sequence[Batch],
    noise: Callable[[Batch], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Routing | None:
    """Counts over the passes of a step on all ranks; None where there is one pass, which counts for itself.

    Dropout draws what it will draw in the step's own passes, where the caller puts the random generators back.

    Args:
        model: In the mode it is trained in.
        batches: This rank's forward passes.
        noise: What is open in the step's own pass over a batch.
    """
    if ranks.num_ranks() == 1 and len(batches) == 1:
        return None
    num_experts = cast(int, model.num_experts)
    counts = torch.zeros(num_experts + 1, dtype=torch.float64, device=model.device)
    with routers_seen(model) as seen:
        for batch in (batch.to(model.device) for batch in batches):
            with noise(batch), head_sees(model, batch.positions[:0]):  # no logits of the vocabulary
                model(**model_inputs(model, batch))
            found = routing(model, batch, seen[0])
            counts += torch.cat([found.chosen, found.num[None]]).double()
    ranks.add_up(counts)
    return Routing(counts[:-1], torch.zeros(num_experts, device=model.device), counts[-1])


def check_router_loss(
    model: "PreTrainedModel", examples: Examples, pad_token_id: int = 0, precision: Precision = "fp32"
) -> None:
    """Refuse a model whose own router loss is another one than this, in value or gradient; tried on padded examples.

    Raises:
        SFTKeyError: Says what differs.
    """
    short = sorted(extremes(examples), key=lambda example: len(example.input_ids))[:2]
    batches = [collate(short, LOSS_ON_WEIGHTS["completion"], pad_token_id, whole=True).to(model.device)]
    where = f"the router loss that {type(model).__name__}'s config asks for (output_router_logits) cannot be had: "
    advice = "set output_router_logits to false in the model's config to train without it"
    compared = TwoWays((_own_loss, batches), (_router_loss, batches), where, advice)
    with compared_in(model, precision) as bounds:
        for bound in bounds:
            refuse_other_losses(model, compared, bound)
            refuse_other_gradients(model, compared, bound)


def _own_loss(model: "PreTrainedModel", batch: Batch) -> Tensor:
    """As transformers adds it to the loss of a batch."""
    mask = batch.is_real.view_as(batch.input_ids).long()
    loss: Tensor = model(input_ids=batch.input_ids, attention_mask=mask, use_cache=False).aux_loss
    return loss.reshape(1)


def _router_loss(model: "PreTrainedModel", batch: Batch) -> Tensor:
    with routers_seen(model) as seen:
        model(**model_inputs(model, batch))
    return routing(model, batch, seen[0]).loss.reshape(1)
