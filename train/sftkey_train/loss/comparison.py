"""Two ways to one result on the same examples: losses and gradients compared, and refused in one line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch
from sftkey_train.loss.flash_attention import takes_half_alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["fp32", "bf16"]
Losses = Callable[["PreTrainedModel", Batch], Tensor]
Way = tuple[Losses, Sequence[Batch]]

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


@dataclass(frozen=True, slots=True)
class TwoWays:
    """What is compared, and the words of the line that refuses.

    Args:
        plain: What is right by definition, and the forward passes that it is tried on; their losses in order are those
            of `other`.
        other: What is to give the same.
        where: How the line begins: what does not fit what.
        advice: How it ends: what the user can do.
    """

    plain: Way
    other: Way
    where: str
    advice: str = "leave it out"


@torch.no_grad()
def refuse_other_losses(model: "PreTrainedModel", compared: TwoWays, bound: Bound) -> None:
    """Compare the losses.

    Raises:
        SFTKeyError: They differ, or cannot be computed the other way.
    """
    expected, found = (_losses(model, compared, way) for way in (compared.plain, compared.other))
    difference = (found - expected).norm() / expected.clamp_min(1).norm()
    if not difference <= bound.relative:  # so that NaN is refused
        what = f"a loss of {found.mean():.5g} where the plain path has {expected.mean():.5g}"
        raise SFTKeyError(f"{compared.where}{what}; {compared.advice}")


def refuse_other_gradients(model: "PreTrainedModel", compared: TwoWays, bound: Bound) -> None:
    """Compare the gradients of the sum of all losses; they are zero before, and what is left is to be cleared.

    The second gradient is subtracted from the first in place, so that no copy of the weights' size is made.

    Raises:
        SFTKeyError: That of a parameter differs, or cannot be computed the other way.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad(set_to_none=True)
    _add_gradient(model, compared, compared.plain, 1)
    norms = {name: _norm(p.grad) for name, p in trained.items()}
    floor = bound.floor * sum(norm**2 for norm in norms.values()) ** 0.5
    _add_gradient(model, compared, compared.other, -1)
    for name, parameter in trained.items():
        difference, size = _norm(parameter.grad), max(norms[name], floor)
        if not difference <= bound.relative * size:
            what = f"the gradient of {name} differs by {difference / size:.1e} of its size"
            raise SFTKeyError(f"{compared.where}{what}; {compared.advice}")


def _norm(gradient: Tensor | None) -> float:
    if gradient is None:
        return 0.0
    norm = torch.linalg.vector_norm(gradient)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _losses(model: "PreTrainedModel", compared: TwoWays, way: Way) -> Tensor:
    with _one_line(compared):
        return torch.cat([way[0](model, batch) for batch in way[1]])


def _add_gradient(model: "PreTrainedModel", compared: TwoWays, way: Way, sign: int) -> None:
    with _one_line(compared):
        for batch in way[1]:
            (sign * way[0](model, batch).sum()).backward()


@contextmanager
def _one_line(compared: TwoWays) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except SFTKeyError as error:
        raise SFTKeyError(f"{compared.where}{error}; {compared.advice}") from None
    except FAULTS as error:
        first = (str(error).splitlines() or [""])[0]
        raise SFTKeyError(f"{compared.where}{type(error).__name__}: {first}; {compared.advice}") from None


@contextmanager
def compared_in(model: "PreTrainedModel", precision: Precision) -> Iterator[Iterator[Bound]]:
    """While open, the model is as it predicts; gives the bound of each precision to compare in, which then holds.

    It leaves the model's mode as it was, and no gradient.
    """
    was_training = model.training
    model.eval()
    try:
        yield _bounds(model, precision)
    finally:
        let_go(model)  # else gradients of what is still gathered would be cleared, and those of its shares stay
        model.zero_grad(set_to_none=True)
        model.train(was_training)


def let_go(model: "PreTrainedModel") -> None:
    """Leave a sharded model its shares alone, after a forward pass that no backward pass follows."""
    if isinstance(model, FSDPModule):
        model.reshard()


def _bounds(model: "PreTrainedModel", precision: Precision) -> Iterator[Bound]:
    for kind in dict.fromkeys((precision,) if takes_half_alone(model) else ("fp32", precision)):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=kind == "bf16"):
            yield BOUNDS[kind]
