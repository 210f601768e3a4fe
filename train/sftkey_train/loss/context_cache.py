"""A forward pass that learns at the answer only: what precedes it is read, without gradient, into a cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from sftkey_train.batches.batch import Batch
from sftkey_train.loss.output_layer import head_sees

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Of one forward pass over the context, all examples together. It bounds the activations, so that memory does not grow
# with the context (`benchmarks/bench_passes.py context`: 1,317 MiB at 1,000 tokens, 1,339 at 4,000).
CONTEXT_TOKENS = 1024
# On a GPU, whose memory has room for more. Every part launches all kernels and casts all weights once more, and all but
# the first need a mask: `benchmarks/roofline.py` has the host wait longer for parts of 1,024 than the device computes.
CONTEXT_TOKENS_OF_GPU = 16_384
SHARE_HEADS = "TRANSFORMERS_SDPA_FORCE_GQA"  # read by transformers at each call


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch with its contexts aligned on the right, so that answers begin together and no example has a gap.

    The context of an example is what precedes the position that predicts its first token with a weight. A sliding
    window would count a gap:

        . . c c | a a          two examples, context c and answer a of 2 and 2 tokens, and of 4 and 1
        c c c c | a .
    """

    num_context: int  # columns
    inputs: dict[str, Tensor]  # int64 (B, num_context + answer), by the name of the model's argument
    mask: Tensor | None  # of the same shape, 0 for padding; none where there is none
    positions: Tensor  # int64 (N,), into the flattened hidden states of the answers: those that predict the labels


def answer_inputs(model: "PreTrainedModel", batch: Batch) -> tuple[dict[str, Any], Tensor]:
    """Run the context of a batch without gradient, and say how to go on from there.

    Returns:
        Keyword arguments of the forward pass over the answers (B, A), and the N positions of its flattened (B * A)
        hidden states that predict `batch.labels`. The gradient is that of the whole graph with the keys and values of
        the context detached. Apart from this cache, what is kept for it does not grow with the context.
    """
    aligned = layout(batch)
    return read_context(model, aligned), aligned.positions


def layout(batch: Batch) -> Layout:
    """Where the tokens of a batch go; on the device of the batch."""
    first, last, columns = _answer_columns(batch)
    num_context, num_answer = int(first.max()), int((last - first).max()) + 1
    # Which column of the batch lies in each column of this layout, (B, num_context + num_answer); below zero: padding.
    # A context of 2 where the longest has 4 gives -2, -1, 0, 1: two of padding, then its tokens 0 and 1.
    source = torch.arange(num_context + num_answer, device=first.device) + (first - num_context)[:, None]
    position_ids = source.clamp(0, batch.input_ids.shape[1] - 1)
    return Layout(
        num_context=num_context,
        inputs={"input_ids": batch.input_ids.gather(1, position_ids), "position_ids": position_ids},
        mask=(source >= 0).long() if bool((source < 0).any()) else None,
        positions=batch.rows * num_answer + columns - first[batch.rows],  # each row's answer begins at column 0
    )


def read_context(model: "PreTrainedModel", aligned: Layout) -> dict[str, Any]:
    """Keyword arguments of the forward pass over the answers, with the contexts in a cache that has no gradient."""
    inputs, mask, num_context = aligned.inputs, aligned.mask, aligned.num_context
    cache = DynamicCache(config=model.config)
    nowhere = aligned.positions[:0]  # no logits of the context
    with torch.no_grad(), cache_kept_small(model), head_sees(model, nowhere):
        step = max(1, _tokens_at_once(model.device) // len(inputs["input_ids"]))
        for start in range(0, num_context, step):
            columns_now = slice(start, min(start + step, num_context))
            part = {name: value[:, columns_now] for name, value in inputs.items()}
            model(**part, attention_mask=_until(mask, columns_now.stop), past_key_values=cache, use_cache=True)
    torch.clear_autocast_cache()  # a torch that keeps casts made without gradient would use them again (2.13 does not)
    answer = {name: value[:, num_context:] for name, value in inputs.items()}
    return {**answer, "attention_mask": mask, "past_key_values": cache, "use_cache": True}


def _tokens_at_once(device: torch.device) -> int:
    return CONTEXT_TOKENS_OF_GPU if device.type == "cuda" else CONTEXT_TOKENS


def _answer_columns(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """First and last column of each example that predicts a target, both (B,), and the column of each target (N,)."""
    num_rows, width = batch.input_ids.shape
    columns = batch.positions - batch.rows * width
    first = torch.full((num_rows,), width, device=columns.device).scatter_reduce(0, batch.rows, columns, "amin")
    last = torch.zeros_like(first).scatter_reduce(0, batch.rows, columns, "amax")
    return first, last, columns


def _until(mask: Tensor | None, column: int) -> Tensor | None:
    return None if mask is None else mask[:, :column]


@contextmanager
def cache_kept_small(model: "PreTrainedModel", *, when: bool = True) -> Iterator[None]:
    """While open, layers use the cache they are given, and do not copy it for every head.

    A layer that checkpoints its activations would drop the cache silently. Transformers repeats keys and values that
    heads share, and the copies are kept for the gradient; on a CPU attention can do without (elsewhere that is slow).
    """
    checkpointing: list[Any] = [m for m in model.modules() if when and getattr(m, "gradient_checkpointing", False)]
    before = os.environ.get(SHARE_HEADS)
    for module in checkpointing:
        module.gradient_checkpointing = False
    if when and model.device.type == "cpu":
        os.environ[SHARE_HEADS] = "1"
    try:
        yield
    finally:
        for module in checkpointing:
            module.gradient_checkpointing = True
        if before is None:
            os.environ.pop(SHARE_HEADS, None)
        else:
            os.environ[SHARE_HEADS] = before
