"""Whether the options that leave something out give what the plain path gives: loss and gradient, before step 1."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from sftkey_train.batches.batch import Batch, Example, Examples
from sftkey_train.batches.packing import forward_passes
from sftkey_train.loss.comparison import (
    Precision,
    TwoWays,
    Way,
    compared_in,
    refuse_other_gradients,
    refuse_other_losses,
)
from sftkey_train.loss.objective import selected_regions
from sftkey_train.loss.output_layer import head_sees
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.recipe import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The whole graph of a context is what `context_gradient = false` is there to spare: its gradient is compared on
# examples up to this length (or on the shortest), its loss on the longest, too.
GRADIENT_TOKENS = 1024


def check_shortcuts(
    model: "PreTrainedModel",
    stage: Stage,
    examples: Examples,
    pad_token_id: int = 0,
    *,
    packed: bool = False,
    precision: Precision = "fp32",
) -> None:
    """Refuse `prune_last_layer` and `context_gradient = false` where this model does not have the plain path's results.

    Tried on real examples, the longest and the shortest among them, in the forward passes that the stage would make of
    them; in fp32, and under bf16 autocast where the run has it. Each token's label is another one than it is, as the
    gradient of a loss near zero would be rounding alone. It draws no random number and leaves weights and mode alone.

    Args:
        model: As it is trained, before its first step.
        stage: Its options.
        examples: What it trains on.
        pad_token_id: What fills short rows.
        packed: Whether the stage packs.
        precision: That of the recipe.

    Raises:
        SFTKeyError: Names the option, the model, and what differs.
    """
    if stage.context_gradient and not stage.prune_last_layer:
        return
    chosen = extremes(examples)[: stage.batch_size]
    short = chosen
    if not stage.context_gradient:
        allowed = [e for e in chosen if len(e.input_ids) <= GRADIENT_TOKENS]
        short = allowed or [min(chosen, key=lambda e: len(e.input_ids))]

    def passes(of: Sequence[Example]) -> list[Batch]:
        made = forward_passes(of, selected_regions(stage), stage, pad_token_id, packed=packed)
        return [with_other_labels(batch, model).to(model.device) for batch in made]

    def shortcut(model: "PreTrainedModel", batch: Batch) -> Tensor:
        how = {"context_gradient": stage.context_gradient, "prune_last_layer": stage.prune_last_layer}
        return token_nll(model, batch, **how)

    plain: Way = (token_nll, passes(short))
    if not stage.context_gradient:
        plain = (_nll_with_context_detached, [batch for example in short for batch in passes([example])])
    option = "prune_last_layer" if stage.context_gradient else "context_gradient = false"
    where = f"stage {stage.name!r}: {option} does not fit {type(model).__name__}: "
    with compared_in(model, precision) as bounds:
        for bound in bounds:
            refuse_other_losses(model, TwoWays((token_nll, passes(chosen)), (shortcut, passes(chosen)), where), bound)
            refuse_other_gradients(model, TwoWays(plain, (shortcut, passes(short)), where), bound)


def extremes(examples: Examples) -> list[Example]:
    """The longest and the shortest example, and the first two: what a window, padding or packing needs to show."""
    lengths = examples.num_tokens
    places = [int(lengths.argmax()), int(lengths.argmin()), 0, 1]
    return [examples[i] for i in dict.fromkeys(places) if i < len(examples)]


def with_other_labels(batch: Batch, model: "PreTrainedModel") -> Batch:
    """The same batch, with each label the id after it: no model has learned these."""
    return replace(batch, labels=(batch.labels + 1) % model.config.get_text_config().vocab_size)


class _ContextDetached(DynamicCache):
    """Keeps nothing: gives a layer its keys and values back, those of the context without gradient."""

    def __init__(self, config: Any, num_context: int) -> None:
        super().__init__(config=config)
        self._num_context = num_context

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = (
            torch.cat([states[:, :, : self._num_context].detach(), states[:, :, self._num_context :]], dim=2)
            for states in (key_states, value_states)
        )
        return keys, values


def _nll_with_context_detached(model: "PreTrainedModel", batch: Batch) -> Tensor:
    """Of one example, in one whole graph: what `context_gradient = false` is by definition."""
    cache = _ContextDetached(model.config, int(batch.positions.min()))
    with head_sees(model, batch.positions):
        logits = model(input_ids=batch.input_ids, past_key_values=cache, use_cache=True).logits[0]
    return functional.cross_entropy(logits.float(), batch.labels, reduction="none")
