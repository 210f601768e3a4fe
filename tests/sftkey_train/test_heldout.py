"""Measurement on held-out examples."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_data.schema import REGIONS
from sftkey_train.batches import Batch
from sftkey_train.heldout import heldout_batches, measure
from sftkey_train.loss import token_nll
from sftkey_train.prepared import Prepared
from sftkey_train.tally import Tally

Make = Callable[..., PreTrainedModel]


def _tally(losses: Iterable[tuple[Batch, Tensor]]) -> Tally:
    tally = Tally()
    for batch, nll in losses:
        tally.add(batch, nll)
    return tally


def test_every_region_of_the_completion_is_measured_whatever_is_trained_on(
    tiny_model: Make, prepared: Prepared
) -> None:
    model, batches = tiny_model("llama"), heldout_batches(prepared.examples.first(20), 0)
    measured = measure(model, batches)
    with torch.no_grad():
        expected = _tally((batch, token_nll(model, batch)) for batch in batches)
    assert measured["loss_by_region"] == pytest.approx(expected.loss_by_region)
    assert list(measured["loss_by_region"]) == list(REGIONS[1:])
    assert measured["examples"] == 20


def test_a_key_is_exact_only_when_all_its_tokens_are_the_first_choice(prepared: Prepared, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    keys = [batch.labels[batch.regions == 3] for batch in batches]
    assert measure(_oracle(tiny_model, batches), batches)["key_exact_match"] == 1.0
    assert measure(_oracle(tiny_model, batches, blind_to=int(keys[0][0])), batches)["key_exact_match"] == pytest.approx(
        1 - _share_of_examples_with(int(keys[0][0]), batches)
    )


def _share_of_examples_with(token: int, batches: list[Batch]) -> float:
    hit = [len(b.rows[(b.labels == token) & (b.regions == 3)].unique()) for b in batches]
    return sum(hit) / sum(len(b.ids) for b in batches)


def _oracle(make: Make, batches: list[Batch], blind_to: int = -1) -> PreTrainedModel:
    """A model whose first choice is the label everywhere, but for one token that it never chooses."""
    model = make("llama")
    queue = [torch.nn.functional.one_hot(b.labels, 512).float() for b in batches]

    def answer(_head: object, _args: object, _output: Tensor) -> Tensor:
        logits = queue.pop(0)
        if blind_to >= 0:
            logits[:, blind_to] = -1
        return logits[None]

    model.get_output_embeddings().register_forward_hook(answer)
    return model


def test_measuring_uses_no_dropout_and_leaves_the_model_in_training(tiny_model: Make, prepared: Prepared) -> None:
    model, batches = tiny_model("llama", attention_dropout=0.5).train(), heldout_batches(prepared.examples.first(8), 0)
    before = torch.get_rng_state()
    assert measure(model, batches) == measure(model, batches)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
