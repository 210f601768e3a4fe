"""FlashAttention is told where packed examples begin, and then gives what each example gives alone.

The kernel itself needs a GPU. In its place stands one that computes on a CPU what its interface says: attention within
each segment. All that lies between it and a step, transformers' own code, is real.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedModel, modeling_flash_attention_utils

from sftkey_train.batches.batch import Batch, ExampleOrder, collate
from sftkey_train.batches.packing import pack
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.flash_attention import model_inputs
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage

Make = Callable[..., PreTrainedModel]
FLASH = "flash_attention_2"
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "phi3", "gemma3_text", "smollm3", "gpt_neox")
"""With shared heads, windows, layers of both kinds and without positions."""


class _Kernel:
    """What it was called with, call by call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.num_whole = 0

    def whole(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Of `flash_attn_func`; states are (B, T, heads, head size). One token is tried before a loss."""
        self.num_whole += 1
        assert not dropout_p
        states = (part.transpose(1, 2) for part in (q, k, v))
        return functional.scaled_dot_product_attention(
            *states, is_causal=causal, scale=softmax_scale, enable_gqa=True
        ).transpose(1, 2)

    def segments(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
    ) -> Tensor:
        """Of `flash_attn_varlen_func`; states are (T, heads, head size)."""
        self.calls.append({"starts": cu_seqlens_q, "keys": cu_seqlens_k, "longest": (max_seqlen_q, max_seqlen_k)})
        assert causal
        assert not dropout_p
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
        done = []
        for start, end in zip(cu_seqlens_q.tolist(), cu_seqlens_q[1:].tolist(), strict=False):
            places = torch.arange(end - start)
            distance = places[:, None] - places
            seen = (distance >= 0) & (distance <= window_size[0] if window_size[0] >= 0 else True)
            states = (part[start:end].transpose(0, 1) for part in (q, k, v))
            done.append(functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=softmax_scale))
        return torch.cat(done, dim=1).transpose(0, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> _Kernel:
    """In the place of the package `flash-attn`, where transformers imports it."""
    made, flash = _Kernel(), modeling_flash_attention_utils

    def imports(*_: Any, **__: Any) -> tuple[Any, ...]:
        return made.whole, made.segments, None, None, None

    monkeypatch.setattr(flash, "_lazy_imports", imports)
    kept = ("flash_fn", "flash_varlen_fn", "flash_with_kvcache_fn", "pad_fn", "unpad_fn", "loaded_implementation")
    for name in (*kept, "process_flash_kwargs_fn", "process_with_kvcache_kwargs_fn"):
        monkeypatch.setattr(flash, f"_{name}", None, raising=False)  # put back, as it keeps what it has imported
    return made


def _alone(prepared: TrainingSet, num: int = 4) -> list[Batch]:
    return [collate([example], LOSS_ON_WEIGHTS["completion"]) for example in prepared.examples.first(num)]


def _step(model: PreTrainedModel, batches: Sequence[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses token by token, and the gradient of their sum."""
    nll = torch.cat([token_nll(model, batch) for batch in batches])
    nll.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return nll.detach(), gradients


def _assert_same_step(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(one[0], other[0], rtol=1e-5, atol=1e-5)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        difference = (other[1][name] - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_losses_and_gradients_of_each_example_alone(
    family: str, tiny_model: Make, prepared: TrainingSet, kernel: _Kernel
) -> None:
    model, alone = tiny_model(family), _alone(prepared)
    usual, expected, masked = model.config._attn_implementation, _step(model, alone), _step(model, [pack(alone)])
    _assert_same_step(masked, expected)
    model.config._attn_implementation = FLASH
    packed = pack(alone)
    _assert_same_step(_step(model, [packed]), expected)
    lengths = [batch.input_ids.shape[1] for batch in alone]
    assert len(kernel.calls) == model.config.num_hidden_layers
    for call in kernel.calls:
        assert call["starts"] is packed.starts  # ours, and not looked for in the positions
        assert call["keys"] is packed.starts
        assert call["longest"] == (max(lengths),) * 2
        assert all(type(length) is int for length in call["longest"])  # a tensor would have to be waited for
    assert kernel.num_whole == 0
    assert packed.starts is not None
    assert packed.starts.dtype == torch.int32
    assert packed.starts.tolist() == [0, *torch.tensor(lengths).cumsum(0).tolist()]
    model.config._attn_implementation = usual


def test_no_layer_looks_for_the_examples_itself(
    tiny_model: Make, prepared: TrainingSet, kernel: _Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    for name in ("_is_packed_sequence", "prepare_fa_kwargs_from_position_ids"):
        own = getattr(modeling_flash_attention_utils, name)
        seen = lambda *arguments, own=own: looked.append(own) or own(*arguments)  # noqa: E731
        monkeypatch.setattr(modeling_flash_attention_utils, name, seen)
    model, packed = tiny_model("llama"), pack(_alone(prepared))
    assert logits_are_plain(model)  # by a pass over one token
    model.config._attn_implementation = FLASH
    expected = token_nll(model, packed)
    assert looked == []
    # As it is without: the same losses, found by looking in each of the two layers.
    torch.testing.assert_close(token_nll(model, replace(packed, starts=None)), expected, rtol=0, atol=0)
    assert len(looked) == 4
    assert len(kernel.calls) == 4


@pytest.mark.parametrize("options", [{}, {"token_loss": "dft", "anchor": 0.5, "weights": {"key": 1.0}}])
def test_a_step_is_that_of_padded_rows(
    options: dict[str, Any], tiny_model: Make, prepared: TrainingSet, kernel: _Kernel
) -> None:
    values = {"name": "s", "loss_on": "completion", "steps": 1, "batch_size": 8, "lr": 1e-3, "max_tokens": 300}
    values = {key: value for key, value in values.items() if key != "loss_on" or "weights" not in options}
    stage, order = Stage.model_validate(values | options), ExampleOrder(0, 0, 60, 8, 8)
    examples, steps = prepared.examples.first(8), []
    for packed in (False, True):
        model, reference = tiny_model("qwen2"), tiny_model("qwen2", num_key_value_heads=4)
        for of in (model, reference):
            of.config._attn_implementation = FLASH if packed else "sdpa"
        loss = torch.zeros(())
        for batch in step_batches(stage, examples, 1, order, 0, packed=packed):
            share = batch_loss(token_costs(model, batch, reference if stage.anchor else None), batch, stage)
            share.backward()
            loss = loss + share.detach()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        steps.append((loss, gradients))
    assert kernel.calls
    _assert_same_step(*steps)


class _OwnForward(LlamaForCausalLM):
    """As models whose code comes with them may be: no arguments but those that are named."""

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None, use_cache: bool = True) -> Any:
        return super().forward(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)


def test_only_flash_attention_is_told(tiny_model: Make, prepared: TrainingSet, kernel: _Kernel) -> None:
    alone = _alone(prepared, 2)
    packed, padded = pack(alone), collate(prepared.examples.first(2), LOSS_ON_WEIGHTS["completion"])
    model = tiny_model("llama")
    assert model_inputs(model, packed).keys() == {"input_ids", "use_cache", "position_ids"}
    model.config._attn_implementation = FLASH
    told = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}
    assert model_inputs(model, packed).keys() == {"input_ids", "use_cache", "position_ids", *told}
    assert model_inputs(model, padded).keys() == {"input_ids", "use_cache"}
    own = _OwnForward(tiny_model("llama").config)
    own.config._attn_implementation = FLASH
    assert model_inputs(own, packed).keys() == {"input_ids", "use_cache", "position_ids"}
    expected = token_nll(model, packed)
    own.load_state_dict(model.state_dict())
    torch.testing.assert_close(token_nll(own, packed), expected)
    assert [call["starts"] is packed.starts for call in kernel.calls] == [True, True, False, False]
