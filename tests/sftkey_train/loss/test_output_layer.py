"""The output layer with its loss in one: exact, whatever becomes of the loss, and never all logits at once."""

from collections.abc import Callable

import pytest
import torch
from measuring import Largest
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import output_layer
from sftkey_train.loss.output_layer import linear_nll, logits_are_plain
from sftkey_train.loss.token_loss import selected_logits, token_nll
from sftkey_train.recipe import LOSS_ON_WEIGHTS

Make = Callable[..., PreTrainedModel]
N, H, V = 37, 16, 100


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_layer, "LEAST_BYTES", 4 * 8 * V)  # four whole chunks and one that is short


def _tensors(bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden, weight = torch.randn(N, H, requires_grad=True), torch.randn(V, H, requires_grad=True)
    return hidden, weight, torch.randn(V, requires_grad=True) if bias else None, torch.randint(V, (N,)), torch.rand(N)


def _plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, _weights: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, weight, bias), labels, reduction="none")


USES = {
    "weighted": lambda nll, weights: (weights * nll).sum() / 3,
    "negative": lambda nll, weights: -(weights * nll).sum(),
    "other-weights": lambda nll, weights: (weights.flip(0) * nll).sum(),
    "reweighted": lambda nll, weights: (weights * (-nll).detach().exp() * nll).sum(),
    "some": lambda nll, weights: nll[::3].sum(),
    "none": lambda nll, weights: 0 * nll.sum(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_loss_and_gradients_equal_plain_cross_entropy_whatever_becomes_of_the_loss(
    use: Callable[[Tensor, Tensor], Tensor], bias: bool
) -> None:
    tensors = _tensors(bias)
    inputs = [t for t in tensors[:3] if t is not None]
    expected_nll, nll = _plain(*tensors), linear_nll(*tensors)
    torch.testing.assert_close(nll, expected_nll, rtol=1e-5, atol=1e-6)
    expected = torch.autograd.grad(use(expected_nll, tensors[4]), inputs)
    found = torch.autograd.grad(use(nll, tensors[4]), inputs)
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_a_second_backward_pass_through_the_same_loss_is_as_exact() -> None:
    tensors = _tensors()
    loss, plain = ((tensors[4] * nll(*tensors)).sum() / 3 for nll in (linear_nll, _plain))
    expected = torch.autograd.grad(plain, tensors[:2])
    for _ in range(2):
        found = torch.autograd.grad(loss, tensors[:2], retain_graph=True)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_loss_weighted_as_announced_goes_over_the_vocabulary_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, chunked = [], output_layer._chunked
    monkeypatch.setattr(output_layer, "_chunked", lambda *arguments: passes.append(1) or chunked(*arguments))
    tensors = _tensors()
    (tensors[4] * linear_nll(*tensors)).sum().div(3).backward()
    assert len(passes) == 1


def test_what_is_frozen_gets_no_gradient() -> None:
    hidden, weight, bias, labels, weights = _tensors()
    weight.requires_grad_(False)
    linear_nll(hidden, weight, bias, labels, weights).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_no_more_than_one_chunk_of_logits_is_ever_held() -> None:
    tensors = _tensors()
    with Largest() as largest:
        (tensors[4] * linear_nll(*tensors)).sum().backward()
    assert largest.elements == max(8 * V, V * H)
    with Largest() as largest:
        _plain(*tensors).sum().backward()
    assert largest.elements == N * V


def test_only_soft_capped_logits_are_not_plain(family: str, tiny_model: Make) -> None:
    assert logits_are_plain(tiny_model(family)) == (family != "gemma2")


def test_scaled_logits_are_not_plain() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    for family in ("granite", "cohere"):
        config = AutoConfig.for_model(family, vocab_size=64, logits_scaling=8.0, pad_token_id=None, **sizes)
        assert not logits_are_plain(AutoModelForCausalLM.from_config(config))


def test_finding_out_draws_no_random_number_and_leaves_the_model_in_training(tiny_model: Make) -> None:
    model = tiny_model("gpt2", attn_pdrop=0.5).train()
    before = torch.get_rng_state()
    assert logits_are_plain(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_of_a_model_is_that_of_its_logits(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model(family), collate(prepared.examples.first(4), LOSS_ON_WEIGHTS["completion"])
    expected = functional.cross_entropy(selected_logits(model, batch), batch.labels, reduction="none")
    torch.testing.assert_close(token_nll(model, batch), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_near_and_its_gradients_are_single(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("gpt_neox"), collate(prepared.examples.first(4), LOSS_ON_WEIGHTS["completion"])
    with torch.autocast("cpu", torch.bfloat16):
        expected = functional.cross_entropy(selected_logits(model, batch).float(), batch.labels, reduction="none")
        nll = token_nll(model, batch)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, expected, rtol=0.02, atol=0.1)
    weight = model.get_output_embeddings().weight
    (reference,), (found,) = (torch.autograd.grad(loss.sum(), [weight]) for loss in (expected, nll))
    assert found.dtype == torch.float32
    assert functional.cosine_similarity(found.flatten(), reference.flatten(), dim=0) > 0.99
