"""Two ways to one result on the same examples: losses and gradients compared, and refused in one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch
from sftkey_train.loss.token_loss import token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Losses = Callable[["PreTrainedModel", Batch], Tensor]

# What goes wrong in code that a model's authors did not write for this: a cache or an argument that it takes otherwise.
FAULTS = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Bound:
    """What rounding may change.

    Args:
        relative: Of the norm of all token losses (each counted as 1 nat at least), and of each parameter's gradient.
        floor: A gradient smaller than this share of all gradients' norm is held to that: it is the rest of a sum that
            cancels, as the gradient of a key's bias is.
    """

    relative: float
    floor: float


# Greatest gradient difference measured over 12 families of two layers: 3e-6 in fp32, 3e-2 in bf16.
BOUNDS = {"fp32": Bound(1e-5, 1e-2), "bf16": Bound(0.15, 0.15)}


@torch.no_grad()
def refuse_other_losses(
    model: "PreTrainedModel", batches: Sequence[Batch], shortcut: Losses, bound: Bound, where: str
) -> None:
    expected = torch.cat([token_nll(model, batch) for batch in batches])
    found = torch.cat([_tried(shortcut, model, batch, where) for batch in batches])
    difference = (found - expected).norm() / expected.clamp_min(1).norm()
    if not difference <= bound.relative:  # so that NaN is refused
        raise SFTKeyError(
            f"{where}a loss of {found.mean():.5g} where the plain path has {expected.mean():.5g}; leave it out"
        )


def refuse_other_gradients(
    model: "PreTrainedModel",
    plain: tuple[Losses, Sequence[Batch]],
    shortcut: tuple[Losses, Sequence[Batch]],
    bound: Bound,
    where: str,
) -> None:
    """The second gradient is subtracted from the first in place, so that no copy of the weights' size is made."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad(set_to_none=True)
    for batch in plain[1]:
        plain[0](model, batch).sum().backward()
    norms = {name: _norm(p.grad) for name, p in trained.items()}
    floor = bound.floor * sum(norm**2 for norm in norms.values()) ** 0.5
    for batch in shortcut[1]:
        loss = _tried(shortcut[0], model, batch, where).sum()
        _tried(lambda *_: (-loss).backward(), model, batch, where)  # noqa: B023 - called at once
    for name, parameter in trained.items():
        difference, size = _norm(parameter.grad), max(norms[name], floor)
        if not difference <= bound.relative * size:
            raise SFTKeyError(
                f"{where}the gradient of {name} differs by {difference / size:.1e} of its size; leave it out"
            )


def _norm(gradient: Tensor | None) -> float:
    if gradient is None:
        return 0.0
    norm = torch.linalg.vector_norm(gradient)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _tried(
    function: Callable[["PreTrainedModel", Batch], Any], model: "PreTrainedModel", batch: Batch, where: str
) -> Any:
    try:
        return function(model, batch)
    except torch.OutOfMemoryError:
        raise
    except SFTKeyError as error:
        raise SFTKeyError(f"{where}{error}; leave it out") from None
    except FAULTS as error:
        first = (str(error).splitlines() or [""])[0]
        raise SFTKeyError(f"{where}{type(error).__name__}: {first}; leave it out") from None
