"""What a device has to do in one training step: every operation that torch is asked for, with its FLOPs and bytes.

Seen below autograd and autocast, so the backward pass and the casts are in it, and the optimizer. An operation launches
one kernel, unless it only looks at memory in another way (views), takes memory without writing to it, or has nothing to
write (no element). It reads each of its tensors once and writes each result once, as if nothing of what another
operation left in a cache were there; what is broadcast counts once, and of a table from which rows are picked those.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import addmm_flop, flop_registry, sdpa_backward_flop, sdpa_flop

aten = torch.ops.aten
GROUPS = ("matrices of layers", "attention", "output layer", "element by element", "casts", "optimizer")
# Beside torch's own: products added in place, and the fused attention that a CPU has for that of a GPU.
FLOPS = flop_registry | {
    aten.addmm_: addmm_flop,
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
PLACE_OF_CAUSAL = {
    aten._scaled_dot_product_flash_attention_for_cpu: 4,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: 7,
}
"""Where an attention's argument `is_causal` stands."""
NO_KERNEL = {
    *(aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten._unsafe_view),
    *(aten.detach, aten.lift_fresh, aten.resize_, aten.set_, aten._local_scalar_dense, torch.ops.prim.device),
}
OVERWRITTEN = {aten.copy_, aten.fill_, aten.zero_}
"""What they write to they do not read."""
UNSCALED = (aten._fused_adamw_, "grads")
"""What it writes to only where it has gradients to scale, as no step here has."""
PICKED = {aten.embedding, aten.index_select, aten.gather, aten.index}
"""As many elements of the first argument are read as the result has."""
SCATTERED = {aten.scatter_add_, aten.index_add_, aten.index_put_, aten.index_copy_}
"""As many elements of the first argument are read and written as are put there."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operation on the device."""

    name: str
    group: str  # one of GROUPS
    flops: int
    read: int  # bytes
    written: int
    is_half: bool  # whether its tensors are in half precision, so that its products are

    @property
    def moved(self) -> int:
        """Bytes."""
        return self.read + self.written


class StepTrace(TorchDispatchMode):
    """Keeps what runs while it is open, in `kernels`.

    Attributes:
        kernels: What has run, in order.
        in_optimizer: Whether what runs now is that of the optimizer.
        lengths: Of the examples in the row that runs now, where attention has no mask and is within each, as kernels
            for variable lengths have it; else none.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []
        self.in_optimizer = False
        self.lengths: Sequence[int] = ()
        self._vocab_size = vocab_size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        result = func(*args, **kwargs)
        if not (func.is_view or packet in NO_KERNEL) and (func._schema.is_mutable or _elements(result)):
            self.kernels.append(self._kernel(func, args, kwargs, result))
        return result

    def _kernel(self, func: Any, args: Any, kwargs: Any, result: Any) -> Kernel:
        packet = func._overloadpacket
        flops = int(FLOPS[packet](*args, **kwargs, out_val=result)) if packet in FLOPS else 0
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        read, written = moved(func, args, kwargs, result)
        return Kernel(
            name=str(packet).removeprefix("aten."),
            group=self._group(func, tensors, flops),
            flops=round(flops * self._seen(packet, args, kwargs)),
            read=read,
            written=written,
            is_half=any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors),
        )

    def _group(self, func: Any, tensors: Sequence[Tensor], flops: int) -> str:
        if self.in_optimizer:
            return "optimizer"
        if "attention" in func.__name__:
            return "attention"
        if any(self._vocab_size in tensor.shape for tensor in tensors):
            return "output layer"
        if flops:
            return "matrices of layers"
        return "casts" if func._overloadpacket is aten._to_copy else "element by element"

    def _seen(self, packet: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> float:
        """The share of all pairs of positions that attention computes: causal kernels leave out what they hide."""
        if packet not in PLACE_OF_CAUSAL or kwargs.get("attn_mask") is not None:
            return 1.0
        place = PLACE_OF_CAUSAL[packet]
        if not (args[place] if len(args) > place else kwargs.get("is_causal", False)):
            return 1.0
        queries = args[1 if "backward" in str(packet) else 0]
        num_rows, width = queries.shape[0], queries.shape[2]
        lengths = self.lengths or [width] * num_rows
        return sum(length * (length + 1) // 2 for length in lengths) / (num_rows * width**2)


def moved(func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> tuple[int, int]:
    """Bytes that an operation reads, and those that it writes."""
    packet = func._overloadpacket
    results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    if packet in PICKED:
        indices = [leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, Tensor)]
        return sum(map(size, [*results, *indices])), sum(map(size, results))
    if packet in SCATTERED:
        put = [leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, Tensor)]
        largest = max(tensor.numel() for tensor in put) * args[0].itemsize
        return largest + sum(map(size, put)), largest
    read = written = 0
    mine: set[int] = set()
    for argument, value in bound(func, args, kwargs):
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        changes = argument.alias_info is not None and argument.alias_info.is_write
        changes &= (packet, argument.name) != UNSCALED
        mine |= {id(tensor) for tensor in tensors} if changes else set()
        written += sum(map(size, tensors)) if changes else 0
        read += sum(map(size, tensors)) if not (changes and (argument.is_out or packet in OVERWRITTEN)) else 0
    return read, written + sum(size(tensor) for tensor in results if id(tensor) not in mine)


def bound(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The operation's arguments that were given, each with its value."""
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            yield argument, args[place]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


def _elements(value: Any) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def size(tensor: Tensor) -> int:
    """Bytes of the elements that lie in memory; what is broadcast lies there once."""
    kept = [n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0]
    return math.prod(kept) * tensor.itemsize if tensor.numel() else 0
