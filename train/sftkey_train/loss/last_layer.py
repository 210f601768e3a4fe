"""The last layer only where something is predicted: of every other position it needs keys and values, nothing more."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from sftkey_data.errors import SFTKeyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHES = ("past_key_values", "layer_past")  # what layers call the cache they are given


class _Caught(Exception):  # noqa: N818 - carries a result out of a layer, and is no error
    pass


class _Catch:
    """In the place of a cache: ends the layer's work as soon as it has its keys and values."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> NoReturn:
        raise _Caught(keys, values)


class _Give:
    """In the place of a cache: lets a layer attend to the keys and values of all positions, its own among them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._states = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._states


@contextmanager
def last_layer_prunes(model: "PreTrainedModel", positions: Tensor, *, when: bool = True) -> Iterator[None]:
    """While open, the last layer's attention and MLP run at some positions only; elsewhere its output is zero.

    The layer runs twice: at all positions as far as its keys and values, then at `positions` to its end. So nothing is
    assumed of what is in the layer. It does not checkpoint its activations meanwhile, as that would drop the cache.

    Args:
        model: One that `loss.shortcuts.check_shortcuts` has let through.
        positions: Into the flattened hidden states (B * T), ascending, shape (N,).
        when: False: nothing happens.

    Raises:
        SFTKeyError: The model has no last layer that takes a cache, or the layer puts nothing into it.
    """
    if not when:
        yield
        return
    layer = _last_layer(model)
    # `own`: the layer has a `forward` beside its class's, put there by somebody else, which must be put back.
    whole, own, checkpointing = layer.forward, "forward" in vars(layer), layer.gradient_checkpointing
    names = list(inspect.signature(whole).parameters)

    def forward(*args: Any, **kwargs: Any) -> Any:
        named = dict(zip(names, args, strict=False)) | kwargs
        hidden, cache = named.pop(names[0]), next(name for name in CACHES if name in names)
        states = _keys_and_values(whole, hidden, named | {cache: _Catch()})  # each (B, heads, T, head size)
        rows, ranks, columns = _layout(positions, *hidden.shape[:2])
        some = {name: _selected(name, value, columns, hidden.shape[1]) for name, value in named.items()}
        output = whole(_take(hidden, columns), **some | {cache: _Give(*states)})
        done = output[0] if isinstance(output, tuple) else output  # (B, A, H), A the most positions of a row
        spread = torch.zeros_like(hidden, dtype=done.dtype).flatten(0, 1).index_copy(0, positions, done[rows, ranks])
        spread = spread.view_as(hidden)
        return (spread, *output[1:]) if isinstance(output, tuple) else spread

    layer.forward, layer.gradient_checkpointing = forward, False
    try:
        yield
    finally:
        layer.gradient_checkpointing = checkpointing
        if own:
            layer.forward = whole
        else:
            del layer.forward


def _last_layer(model: "PreTrainedModel") -> Any:
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers or not set(CACHES) & set(inspect.signature(layers[-1].forward).parameters):
        raise SFTKeyError(f"the last layer of {type(model).__name__} takes no cache")
    return layers[-1]


def _keys_and_values(whole: Any, hidden: Tensor, named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    try:
        whole(hidden, **named)
    except _Caught as caught:
        keys, values = caught.args
        return keys, values
    raise SFTKeyError("the model's last layer puts no keys and values into its cache")


def _layout(positions: Tensor, num_rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row and rank within it of each of N positions, and the column of each rank, (num_rows, most of a row).

    Worked: positions (1, 2, 7) of 2 rows of 4 are the ranks (0, 1) of row 0 and 0 of row 1, columns ((1, 2), (3, 0)).
    """
    rows = positions // width
    counts = torch.bincount(rows, minlength=num_rows)
    ranks = torch.arange(len(positions), device=positions.device) - (counts.cumsum(0) - counts)[rows]
    columns = positions.new_zeros(num_rows, int(counts.max()))
    columns[rows, ranks] = positions % width
    return rows, ranks, columns


def _selected(name: str, value: Any, columns: Tensor, width: int) -> Any:
    """An argument of the layer as it is for the positions of `columns`."""
    match name:
        case "attention_mask" if value is None:  # causal, without padding on the left
            return (torch.arange(width, device=columns.device) <= columns[..., None])[:, None]
        case "attention_mask":  # (B or 1, 1, T, T), by query and key: the rows of some queries
            return _take(value.transpose(1, 2), columns).transpose(1, 2)
        case "position_ids" if value is not None:
            return _take(value, columns)
        case "position_embeddings" if value is not None:
            return tuple(_take(part, columns) for part in value)
    return value


def _take(values: Tensor, columns: Tensor) -> Tensor:
    """`values` (B or 1, T, …) at `columns` (B, A): (B, A, …)."""
    # Modulo, as what is alike for all examples (position embeddings, a mask) comes as one row for the batch.
    rows = torch.arange(len(columns), device=columns.device)[:, None] % len(values)
    return values[rows, columns]
