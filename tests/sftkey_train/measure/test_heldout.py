"""Measurement on held-out examples."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from measuring import Largest
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from sftkey_data.schema import REGIONS
from sftkey_train.batches.batch import Batch
from sftkey_train.batches.region_weights import KEY
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import output_layer
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.loss.token_loss import nll_and_choice, token_nll
from sftkey_train.measure.heldout import heldout_batches, measure_heldout
from sftkey_train.measure.loss_tally import LossTally

Make = Callable[..., PreTrainedModel]


def _tally(losses: Iterable[tuple[Batch, Tensor]]) -> LossTally:
    tally = LossTally()
    for batch, nll in losses:
        tally.add(batch, nll)
    return tally


def test_every_region_of_the_completion_is_measured_whatever_is_trained_on(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    model, batches = tiny_model("llama"), heldout_batches(prepared.examples.first(20), 0)
    measured = measure_heldout(model, batches)
    with torch.no_grad():
        expected = _tally((batch, token_nll(model, batch)) for batch in batches)
    assert measured["loss_by_region"] == pytest.approx(expected.read().loss_by_region)
    assert list(measured["loss_by_region"]) == list(REGIONS[1:])
    assert measured["examples"] == 20


def test_a_key_is_exact_when_all_its_tokens_are_the_first_choice(prepared: TrainingSet, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    assert measure_heldout(_oracle(tiny_model, batches), batches)["forced_key_match"] == 1.0


def test_mistakes_outside_the_key_do_not_count_against_it(prepared: TrainingSet, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    outside = {int(token) for b in batches for token in b.labels[b.regions != KEY]}
    inside = {int(token) for b in batches for token in b.labels[b.regions == KEY]}
    assert measure_heldout(_oracle(tiny_model, batches, blind_to=outside - inside), batches)["forced_key_match"] == 1.0


def test_one_wrong_token_spoils_a_key_and_an_example_counts_once(prepared: TrainingSet, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    keys = [b.labels[(b.rows == row) & (b.regions == KEY)].tolist() for b in batches for row in range(len(b.ids))]
    assert any(len(key) > 1 for key in keys)
    one = keys[0][-1]
    expected = sum(one not in key for key in keys) / len(keys)
    assert 0 < expected < 1
    assert measure_heldout(_oracle(tiny_model, batches, blind_to={one}), batches)["forced_key_match"] == expected
    every = {token for key in keys for token in key}
    assert measure_heldout(_oracle(tiny_model, batches, blind_to=every), batches)["forced_key_match"] == 0.0


def test_each_region_is_matched_by_itself(prepared: TrainingSet, tiny_model: Make) -> None:
    batches = heldout_batches(prepared.examples.first(20), 0)
    examples = [(b, b.rows == row) for b in batches for row in range(len(b.ids))]
    tokens = {
        name: [set(b.labels[r & (b.regions == i)].tolist()) for b, r in examples] for i, name in enumerate(REGIONS)
    }
    blind_to = {min(tokens["key"][0]), min(tokens["cot"][0] - tokens["cot"][1])}
    measured = measure_heldout(_oracle(tiny_model, batches, blind_to), batches)
    expected = {name: sum(not t & blind_to for t in tokens[name]) / 20 for name in REGIONS[1:]}
    assert measured["forced_match_by_region"] == pytest.approx(expected)
    assert 0 < expected["key"] < 1
    assert 0 < expected["cot"] < 1
    assert expected["key"] != expected["cot"]
    assert expected["eos"] == 1.0


class _Answers(torch.nn.Linear):
    """An output layer that gives prepared logits, one batch after the other."""

    def __init__(self, queue: list[Tensor]) -> None:
        super().__init__(1, 1)
        self.queue = queue

    def forward(self, hidden: Tensor) -> Tensor:
        return self.queue.pop(0)[None]


def _oracle(make: Make, batches: list[Batch], blind_to: Iterable[int] = ()) -> PreTrainedModel:
    """A model whose first choice is the label everywhere, but for tokens that it never chooses."""
    model = make("llama")
    logits = [torch.nn.functional.one_hot(b.labels, 512).float() for b in batches]
    for of_batch in logits:
        of_batch[:, list(blind_to)] = -1
    model.set_output_embeddings(_Answers(logits))
    return model


def test_what_is_measured_is_what_plain_logits_say(
    family: str, tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = tiny_model(family), heldout_batches(prepared.examples.first(20), 0)
    monkeypatch.setattr(output_layer, "LEAST_BYTES", 4 * 7 * 512)
    for measured in batches:
        with torch.no_grad():
            whole = model(input_ids=measured.input_ids).logits.flatten(0, 1)[measured.positions]
        choices = whole.argmax(-1)
        labels = torch.where(torch.arange(len(choices)) % 3 == 0, choices, measured.labels)
        batch = replace(measured, labels=labels)
        nll, chosen = nll_and_choice(model, batch)
        torch.testing.assert_close(nll, functional.cross_entropy(whole, batch.labels, reduction="none"))
        assert torch.equal(chosen, choices == batch.labels)
        assert len(chosen) // 3 <= chosen.sum() < len(chosen)


def test_no_more_than_one_chunk_of_logits_is_held(
    tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = tiny_model("llama", vocab_size=5000), heldout_batches(prepared.examples.first(8), 0)
    monkeypatch.setattr(output_layer, "LEAST_BYTES", 4 * 9 * 5000)
    assert logits_are_plain(model)
    with Largest() as largest:
        measure_heldout(model, batches)
    assert largest.elements <= 5000 * 32  # the output layer's own weight, and fewer than all logits
    assert len(batches[0].labels) * 5000 > 5000 * 32


def test_with_equal_logits_the_first_token_alone_is_the_choice(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batches = tiny_model("llama"), heldout_batches(prepared.examples.first(4), 0)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    measured = measure_heldout(model, batches)
    assert measured["forced_key_match"] == 0.0
    assert measured["forced_match_by_region"]["eos"] == 1.0  # the EOS has the id 0


def test_measuring_uses_no_dropout_and_leaves_the_model_in_training(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batches = tiny_model("llama", attention_dropout=0.5).train(), heldout_batches(prepared.examples.first(8), 0)
    before = torch.get_rng_state()
    assert measure_heldout(model, batches) == measure_heldout(model, batches)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
