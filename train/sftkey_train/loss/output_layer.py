"""The output layer: only at the positions that carry weight, and with its loss where all logits would not fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sftkey_data.errors import SFTKeyError
from sftkey_train.loss.flash_attention import half_where_needed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LEAST_BYTES = 2**28
"""Of the logits held at once: 256 MiB, on a CPU never more: 441 tokens in fp32 at a vocabulary of 151,936."""
SHARE_OF_GPU = 64
"""Of a GPU's memory, one part in so many: 80 GiB are 1.25 GiB, 1,472 tokens under bf16 at that vocabulary. For so many
the weight is read once, which pays on a GPU from about a thousand on."""


@contextmanager
def head_sees(model: "PreTrainedModel", positions: Tensor) -> Iterator[None]:
    """While open, the output layer gets hidden states (1, N, H) instead of (B, T, H); `positions` index B * T."""

    def select(_head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_select(args[0], positions).unsqueeze(0), *args[1:])

    handle = output_layer(model).register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def head_answers(
    model: "PreTrainedModel", positions: Tensor, answer: Callable[[Tensor, Tensor, Tensor | None], Tensor]
) -> Iterator[None]:
    """While open, the output layer gives (1, N, K), what `answer` makes of hidden states, instead of logits.

    Within the model's own forward pass, so that what wraps it (sharding, data parallelism) sees an ordinary output.

    Args:
        model: One whose logits are what its output layer gives, see `logits_are_plain`.
        positions: Into the flattened hidden states (B * T), shape (N,).
        answer: From hidden states (N, H) and the layer's weight (V, H) and bias (V,) to (N, K).
    """
    head, results = output_layer(model), list[Tensor]()

    def before(_head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = _select(args[0], positions)
        results.append(answer(hidden, cast(Tensor, head.weight), cast(Tensor | None, head.bias)))
        return (hidden[:0].unsqueeze(0), *args[1:])  # (1, 0, H): the layer itself has nothing to do

    def after(_head: nn.Module, _args: tuple[Any, ...], _output: Tensor) -> Tensor:
        return results.pop()[None].clone()  # a view would lose the hooks of what wraps the model

    handles = [head.register_forward_pre_hook(before), head.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def output_layer(model: "PreTrainedModel") -> nn.Module:
    """The module that turns hidden states into logits.

    Raises:
        SFTKeyError: The model names none.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise SFTKeyError(f"model {type(model).__name__} names no output layer, expected a causal language model")
    return head


# Tried once a model, as it takes a forward pass; weak, so that no model is kept alive.
_plain: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def logits_are_plain(model: "PreTrainedModel") -> bool:
    """Whether the logits are what a linear output layer gives: no soft-capping, no scaling, no adapter in it.

    Tried out by a forward pass over one token, once a model.

    Raises:
        SFTKeyError: The model names no output layer.
    """
    head = output_layer(model)
    if type(head) is not nn.Linear:
        return False
    if model not in _plain:
        _plain[model] = _passes_through(model, head)
    return _plain[model]


@torch.no_grad()
def _passes_through(model: "PreTrainedModel", head: nn.Linear) -> bool:
    """Have the output layer give known numbers for one token, and see whether the model gives them too."""
    expected = torch.linspace(-3, 3, head.out_features, device=model.device)[None, None]
    handle = head.register_forward_hook(lambda *_: expected)
    training = model.training
    model.eval()  # dropout would draw random numbers
    try:
        with half_where_needed(model):
            token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            logits = model(input_ids=token, use_cache=False).logits
    finally:
        model.train(training)
        handle.remove()
    return logits.shape == expected.shape and torch.equal(logits, expected)


def logit_budget(device: torch.device) -> int:
    """Bytes that the logits held at once may take; the same each time on one device, whatever else it holds."""
    if device.type != "cuda":
        return LEAST_BYTES
    return max(LEAST_BYTES, torch.cuda.get_device_properties(device).total_memory // SHARE_OF_GPU)


def tokens_at_once(num_tokens: int, vocab_size: int, dtype: torch.dtype, budget: int) -> int:
    """How many tokens' logits fit in `budget` bytes, at least one and at most `num_tokens` (or one).

    A logit takes 4 bytes in fp32, where all is done in one place. In half precision there are the matrix product, and
    later the gradient for the next one (2), and in fp32 the logits of the loss (4).
    """
    bytes_per_logit = 4 if dtype == torch.float32 else dtype.itemsize + 4
    return max(1, min(num_tokens, budget // (vocab_size * bytes_per_logit)))


class _How(NamedTuple):
    """How a loss is computed: in which type, and how much its logits may take at once."""

    dtype: torch.dtype
    logit_bytes: int


def linear_nll(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    *,
    only_weighted: bool = False,
    logit_bytes: int = 0,
) -> Tensor:
    """`cross_entropy(linear(hidden, weight, bias), labels, reduction="none")` that never holds all logits.

    The gradient is computed chunk by chunk in the forward pass, as in Liger Kernel (arXiv 2410.10989), so that no
    matrix product is done twice. It is exact for every later use of the result. Where the gradient that comes back is
    no multiple of `weights`, it costs a second pass over the vocabulary.

    Args:
        hidden: (N, H).
        weight: (V, H).
        bias: (V,) or none.
        labels: int64 (N,).
        weights: What the loss will multiply each label's by, up to a common factor, shape (N,); others cost more.
        only_weighted: The loss does that and nothing else, so the backward pass need not look whether it was so, for
            which the host would wait for the device.
        logit_bytes: What the logits held at once may take; 0: see `logit_budget`. In plain cross-entropy all would be.

    Returns:
        fp32 of shape (N,), in nats.
    """
    how = _How(_compute_dtype(hidden), logit_bytes or logit_budget(hidden.device))
    if not torch.is_grad_enabled():
        return _chunked(how, (False,) * 3, hidden, weight, bias, labels, weights)[0]
    nll: Tensor = _LinearNLL.apply(hidden, weight, bias, labels, weights, only_weighted, how)  # type: ignore[no-untyped-call]
    return nll


@torch.no_grad()
def linear_nll_and_choice(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, *, logit_bytes: int = 0
) -> Tensor:
    """Loss of each label as `linear_nll` has it, and whether the label is the first choice (1 or 0), fp32 (N, 2)."""
    how = _How(_compute_dtype(hidden), logit_bytes or logit_budget(hidden.device))
    results = [hidden.new_zeros(0, 2).float()]
    for rows, _, logits, _ in _logits_by_chunk(how, hidden, weight.to(how.dtype), bias):
        chosen = logits.argmax(-1) == labels[rows]
        nll, *_ = _exponentials(logits, labels[rows, None])
        results.append(torch.stack([nll, chosen.float()], -1))
    return torch.cat(results)


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        weights: Tensor,
        only_weighted: bool,
        how: _How,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, labels, weights)
        ctx.only_weighted, ctx.how = only_weighted, how
        nll, ctx.gradients = _chunked(how, ctx.needs_input_grad[:3], hidden, weight, bias, labels, weights)
        return nll

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_nll,) = grad_outputs
        hidden, weight, bias, labels, weights = ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place, so used once
        # The multiple of `weights` nearest to what came back. That it is, up to rounding (1.2e-7 in fp32), or the loss
        # was used in another way than announced. Where nothing weighs anything, all gradients are zero.
        square = weights @ weights
        scale = torch.where(square > 0, (grad_nll @ weights) / square, 1.0)
        if gradients is None or not (ctx.only_weighted or torch.allclose(grad_nll, scale * weights, rtol=1e-5, atol=0)):
            gradients, scale = None, scale.new_ones(())  # the memory goes before new one is taken
            _, gradients = _chunked(ctx.how, ctx.needs_input_grad[:3], hidden, weight, bias, labels, grad_nll)
        return *(None if g is None else g.mul_(scale) for g in gradients), None, None, None, None


def _chunked(
    how: _How,
    wanted: tuple[bool, ...],
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    coefficients: Tensor,
) -> tuple[Tensor, list[Tensor | None]]:
    """Loss of each label (N,), and gradients of `coefficients @ loss` for those of hidden, weight and bias wanted."""
    parts = zip((hidden, weight, bias), wanted, strict=True)
    gradients = [torch.zeros_like(t) if learns and t is not None else None for t, learns in parts]
    nll = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
    matrix = weight.to(how.dtype)
    for rows, inputs, logits, narrow in _logits_by_chunk(how, hidden, matrix, bias):
        targets = labels[rows, None]
        nll[rows], exponentials, sums = _exponentials(logits, targets)
        if any(wanted):  # the gradient of the logits is softmax minus one-hot, times the coefficient
            by_row = coefficients[rows, None]
            errors = exponentials.mul_(by_row / sums).scatter_add_(1, targets, -by_row)
            if gradients[2] is not None:
                gradients[2] += errors.sum(0)
            errors = errors if errors.dtype == narrow.dtype else narrow.copy_(errors)
            _accumulate(gradients, rows, errors, inputs, matrix)
    return nll, gradients


def _logits_by_chunk(
    how: _How, hidden: Tensor, matrix: Tensor, bias: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Some rows after others: which, their hidden states, their fp32 logits, and room for as many numbers in `dtype`.

    All chunks are written to the same memory, as fresh memory is slow on a CPU; in fp32 the room is that of the logits.
    """
    size = tokens_at_once(len(hidden), len(matrix), how.dtype, how.logit_bytes)
    buffer = matrix.new_empty(size, len(matrix))
    wide = buffer if how.dtype == torch.float32 else torch.empty_like(buffer, dtype=torch.float32)
    for start in range(0, len(hidden), size):
        rows = slice(start, start + size)
        inputs = hidden[rows].to(how.dtype)
        narrow = torch.mm(inputs, matrix.T, out=buffer[: len(inputs)])
        logits = narrow if wide is buffer else wide[: len(inputs)].copy_(narrow)
        if bias is not None:
            logits += bias
        yield rows, inputs, logits, narrow


def _exponentials(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each row (n,), in the place of its logits what is proportional to their probabilities, and its sums."""
    logits -= logits.amax(1, keepdim=True)  # so that exp does not overflow
    of_labels = logits.gather(1, targets)  # now, as exp_ takes the place of the logits
    exponentials = logits.exp_()
    sums = exponentials.sum(1, keepdim=True)
    return (sums.log() - of_labels).squeeze(1), exponentials, sums


def _accumulate(gradients: list[Tensor | None], rows: slice, errors: Tensor, inputs: Tensor, matrix: Tensor) -> None:
    to_hidden, to_weight, _ = gradients
    if to_hidden is not None:
        to_hidden[rows] = errors @ matrix
    # Added in place where types allow; under autocast the product is bf16 and the gradient of the weight is fp32.
    if to_weight is not None and to_weight.dtype == matrix.dtype:
        to_weight.addmm_(errors.T, inputs)
    elif to_weight is not None:
        to_weight += errors.T @ inputs


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _select(hidden: Tensor, positions: Tensor) -> Tensor:
    return hidden.flatten(0, 1).index_select(0, positions)
