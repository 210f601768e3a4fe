"""The anchor: how far a model has moved, on tokens that carry no loss, from the one its stage started from."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sftkey_train.batches.batch import Batch
from sftkey_train.loss.token_loss import selected_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Rows of the vocabulary in a temporary: 37 MiB at 151,936 in fp32. For all tokens at once there would be five
# temporaries as large as the logits.
TOKENS_AT_ONCE = 64


def frozen(model: "PreTrainedModel") -> "PreTrainedModel":
    """The same model as a reference: without dropout, and no gradient reaches it."""
    model.eval().requires_grad_(False)
    return model


@torch.no_grad()
def reference_logits(reference: "PreTrainedModel", batch: Batch) -> Tensor:
    """What the reference predicts at the anchored tokens alone, shape (A, V)."""
    anchored = batch.anchor > 0
    selected = replace(batch, positions=batch.positions[anchored], labels=batch.labels[anchored])
    return selected_logits(reference, selected)


def anchor_kl(reference: Tensor, current: Tensor) -> Tensor:
    """KL(reference || current) of every token, fp32 of shape (A,), in nats.

    Worked: reference (1/2, 1/2), current (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3 = ln(4/3) / 2 = 0.1438.

    Args:
        reference: Logits, shape (A, V); no gradient goes there.
        current: Logits, shape (A, V).
    """
    kl: Tensor = _KL.apply(reference, current)  # type: ignore[no-untyped-call]
    return kl


class _KL(torch.autograd.Function):
    """The gradient by the current logits is known in the forward pass, q - p, and is all that is kept: (A, V)."""

    @staticmethod
    def forward(ctx: Any, reference: Tensor, current: Tensor) -> Tensor:
        kl, gradient = torch.empty(len(current), device=current.device), torch.empty_like(current)
        for start in range(0, len(current), TOKENS_AT_ONCE):
            rows = slice(start, start + TOKENS_AT_ONCE)
            log_p, log_q = (logits[rows].float().log_softmax(-1) for logits in (reference, current))
            p = log_p.exp()
            kl[rows] = (p * (log_p - log_q)).sum(-1)
            gradient[rows] = log_q.exp() - p
        ctx.save_for_backward(gradient)
        return kl

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor]:
        (gradient,) = ctx.saved_tensors
        return None, upstream[0].to(gradient.dtype).unsqueeze(-1) * gradient
