"""Reading the context without gradient: exact, for examples of any length together, with flat memory."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from plain import DetachedContext
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from sftkey_train.batches.batch import Example, collate
from sftkey_train.batches.region_weights import RegionBorders, region_weights
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import context_cache
from sftkey_train.loss.token_loss import selected_logits, token_nll, weighted_loss
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Weights

Make = Callable[..., PreTrainedModel]
STAGES = pytest.mark.parametrize(
    "weights",
    [LOSS_ON_WEIGHTS["answer"], LOSS_ON_WEIGHTS["key"], Weights(cot=0.5, key=2)],
    ids=["answer", "key", "with-cot"],
)


def _reference(model: PreTrainedModel, examples: Sequence[Example], weights: Weights) -> Tensor:
    """One whole graph and full logits per example, unpadded, with keys and values of the context detached."""
    loss_sum, weight_sum = torch.zeros(()), torch.zeros(())
    for example in examples:
        by_token = region_weights(example.borders, weights)
        cache = DetachedContext(model.config, int(by_token.nonzero()[0]) - 1)
        logits = model(input_ids=example.input_ids[None], past_key_values=cache, use_cache=True).logits[0, :-1]
        nll = functional.cross_entropy(logits, example.input_ids[1:], reduction="none")
        loss_sum, weight_sum = loss_sum + (by_token[1:] * nll).sum(), weight_sum + by_token.sum()
    return loss_sum / weight_sum


def _gradients(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def _loss(model: PreTrainedModel, examples: Sequence[Example], weights: Weights, **options: Any) -> Tensor:
    batch = collate(examples, weights, pad_token_id=5)
    nll = token_nll(model, batch, context_gradient=False, **options)
    return weighted_loss(nll, batch.weights, float(batch.weights.sum()))


def _assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    floor = 1e-5 * torch.stack([gradient.norm() for gradient in expected.values()]).norm()  # rests of sums that cancel
    assert found.keys() <= expected.keys()
    for name, gradient in expected.items():
        difference = (found.get(name, torch.zeros(())) - gradient).norm() / gradient.norm().clamp_min(floor)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


@STAGES
def test_gradients_equal_the_whole_graph_with_the_context_detached(
    family: str, weights: Weights, tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_cache, "CONTEXT_TOKENS", 5 * 23)  # several parts, and a last one that is short
    model, examples = tiny_model(family), prepared.examples.first(5)
    assert len({example.borders.cot_token_end for example in examples}) > 1
    reference = _reference(model, examples, weights)
    expected = _gradients(model, reference)
    loss = _loss(model, examples, weights)
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-5)
    _assert_close(_gradients(model, loss), expected)


def test_a_batch_equals_its_examples_one_by_one(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model(family), [*prepared.examples.first(4), _without_context()]
    batch = collate(examples, LOSS_ON_WEIGHTS["answer"])
    together = selected_logits(model, batch, context_gradient=False)
    for row, example in enumerate(examples):
        alone = selected_logits(model, collate([example], LOSS_ON_WEIGHTS["answer"]), context_gradient=False)
        torch.testing.assert_close(together[batch.rows == row], alone, rtol=1e-5, atol=1e-4)


def test_the_context_is_read_in_parts_of_bounded_size(
    tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_cache, "CONTEXT_TOKENS", 64)
    model, sizes = tiny_model("llama"), list[int]()
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: sizes.append(args[0].numel()))
    token_nll(model, collate(prepared.examples.first(4), LOSS_ON_WEIGHTS["answer"]), context_gradient=False)
    assert len(sizes) > 5
    assert max(sizes[1:-1]) == 64  # the first found out about the logits, the last is the answer


def _without_context() -> Example:
    """The first token with a weight is the second of all."""
    return Example("short", torch.arange(30, 35), RegionBorders(1, 1, 2, 3, 4, 5))


def test_the_loss_is_that_of_the_whole_graph_and_the_gradient_is_not(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("llama"), collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["key"])
    whole, answer = (token_nll(model, batch, context_gradient=learns) for learns in (True, False))
    torch.testing.assert_close(whole, answer, rtol=1e-5, atol=1e-5)
    name = "model.layers.0.self_attn.k_proj.weight"
    assert not torch.allclose(_gradients(model, whole.sum())[name], _gradients(model, answer.sum())[name], rtol=0.1)


def test_without_a_context_nothing_changes(tiny_model: Make) -> None:
    model, batch = tiny_model("qwen2"), collate([_without_context()], LOSS_ON_WEIGHTS["answer"])
    whole, answer = (token_nll(model, batch, context_gradient=learns) for learns in (True, False))
    assert torch.equal(whole, answer)
    _assert_close(_gradients(model, answer.sum()), _gradients(model, whole.sum()))


def test_gradient_checkpointing_does_not_lose_the_context(tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model("llama").train(), prepared.examples.first(3)
    expected = _gradients(model, _loss(model, examples, LOSS_ON_WEIGHTS["key"]))
    model.activation_checkpointing_enable()
    _assert_close(_gradients(model, _loss(model, examples, LOSS_ON_WEIGHTS["key"])), expected)
    assert model.is_activation_checkpointing


def test_weights_that_were_cast_for_the_context_still_learn_in_half_precision(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples = tiny_model("llama"), prepared.examples.first(3)
    expected = _gradients(model, _loss(model, examples, LOSS_ON_WEIGHTS["answer"]))
    with torch.autocast("cpu", torch.bfloat16):
        loss = _loss(model, examples, LOSS_ON_WEIGHTS["answer"])
    found = _gradients(model, loss)
    for name, gradient in expected.items():
        assert functional.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0) > 0.9, name


def _long(num_context: int) -> Example:
    ids = torch.arange(num_context + 6) % 400
    return Example(
        "long", ids, RegionBorders(2, num_context, num_context + 1, num_context + 4, num_context + 5, len(ids))
    )


def _bytes_kept(model: PreTrainedModel, example: Example) -> int:
    """Of all tensors that are kept for the backward pass, parameters aside, each memory once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nll = token_nll(model, collate([example], LOSS_ON_WEIGHTS["answer"]), context_gradient=False)
    assert nll.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize(("family", "width"), [("llama", 32), ("gpt2", 32), ("qwen2", 16)])  # two heads share: half
def test_what_is_kept_for_the_gradient_grows_by_the_cache_alone(family: str, width: int, tiny_model: Make) -> None:
    sizes = {"max_position_embeddings": 4096, "n_positions": 4096}
    model = tiny_model(family, **sizes)
    short, long = (_bytes_kept(model, _long(num)) for num in (500, 2500))
    cache = 2000 * 2 * 2 * width * 4  # tokens, layers, keys and values, all heads, bytes
    mask = 2000 * 6 * 4 * 2  # of the answer's positions, as numbers and as booleans
    assert cache <= long - short <= cache + 2 * mask
    assert context_cache.SHARE_HEADS not in os.environ
