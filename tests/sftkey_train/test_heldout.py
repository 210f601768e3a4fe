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
from sftkey_train.weights import KEY

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


def test_a_key_is_exact_when_all_its_tokens_are_the_first_choice(prepared: Prepared, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    assert measure(_oracle(tiny_model, batches), batches)["key_exact_match"] == 1.0


def test_mistakes_outside_the_key_do_not_count_against_it(prepared: Prepared, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    outside = {int(token) for b in batches for token in b.labels[b.regions != KEY]}
    inside = {int(token) for b in batches for token in b.labels[b.regions == KEY]}
    assert measure(_oracle(tiny_model, batches, blind_to=outside - inside), batches)["key_exact_match"] == 1.0


def test_one_wrong_token_spoils_a_key_and_an_example_counts_once(prepared: Prepared, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    keys = [b.labels[(b.rows == row) & (b.regions == KEY)].tolist() for b in batches for row in range(len(b.ids))]
    assert any(len(key) > 1 for key in keys)
    one = keys[0][-1]
    expected = sum(one not in key for key in keys) / len(keys)
    assert 0 < expected < 1
    assert measure(_oracle(tiny_model, batches, blind_to={one}), batches)["key_exact_match"] == expected
    every = {token for key in keys for token in key}
    assert measure(_oracle(tiny_model, batches, blind_to=every), batches)["key_exact_match"] == 0.0


def test_each_region_is_matched_by_itself(prepared: Prepared, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    examples = [(b, b.rows == row) for b in batches for row in range(len(b.ids))]
    tokens = {
        name: [set(b.labels[r & (b.regions == i)].tolist()) for b, r in examples] for i, name in enumerate(REGIONS)
    }
    blind_to = {min(tokens["key"][0]), min(tokens["cot"][0] - tokens["cot"][1])}
    measured = measure(_oracle(tiny_model, batches, blind_to), batches)
    expected = {name: sum(not t & blind_to for t in tokens[name]) / 20 for name in REGIONS[1:]}
    assert measured["exact_match_by_region"] == pytest.approx(expected)
    assert 0 < expected["key"] < 1
    assert 0 < expected["cot"] < 1
    assert expected["key"] != expected["cot"]
    assert expected["eos"] == 1.0


def _oracle(make: Make, batches: list[Batch], blind_to: Iterable[int] = ()) -> PreTrainedModel:
    """A model whose first choice is the label everywhere, but for tokens that it never chooses."""
    model = make("llama")
    queue = [torch.nn.functional.one_hot(b.labels, 512).float() for b in batches]

    def answer(_head: object, _args: object, _output: Tensor) -> Tensor:
        logits = queue.pop(0)
        logits[:, list(blind_to)] = -1
        return logits[None]

    model.get_output_embeddings().register_forward_hook(answer)
    return model


def test_measuring_uses_no_dropout_and_leaves_the_model_in_training(tiny_model: Make, prepared: Prepared) -> None:
    model, batches = tiny_model("llama", attention_dropout=0.5).train(), heldout_batches(prepared.examples.first(8), 0)
    before = torch.get_rng_state()
    assert measure(model, batches) == measure(model, batches)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
