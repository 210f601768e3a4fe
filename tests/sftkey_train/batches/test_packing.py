"""Packing only rearranges a step's examples: the same loss, the same gradients, no example beside or in another."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch, Example, collate, micro_batches
from sftkey_train.batches.packing import best_fit, check_budget, forward_passes, pack, padded_groups
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import parity
from sftkey_train.loss.parity import keeps_documents_apart, packs, together
from sftkey_train.loss.token_loss import token_nll, weighted_loss
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage

Make = Callable[..., PreTrainedModel]
LEAKS = ("falcon",)  # builds its own attention, without the block mask


def _stage(**changes: Any) -> Stage:
    return Stage.model_validate({"name": "s", "loss_on": "answer", "steps": 1, "batch_size": 8, "lr": 1e-3, **changes})


def _step(model: PreTrainedModel, batches: Sequence[Batch]) -> tuple[float, dict[str, Tensor]]:
    total = sum(float(batch.weights.sum()) for batch in batches)
    loss = 0.0
    for batch in batches:
        share = weighted_loss(token_nll(model, batch), batch.weights, total)
        share.backward()
        loss += float(share.detach())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss, gradients


def _assert_same_step(model: PreTrainedModel, batches: Sequence[Batch], expected: Sequence[Batch]) -> None:
    loss, gradients = _step(model, expected)
    found, found_gradients = _step(model, batches)
    assert found == pytest.approx(loss, rel=1e-5)
    assert found_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        difference = (found_gradients[name] - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


@pytest.mark.parametrize("loss_on", ["completion", "answer"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_loss_and_gradients_of_a_step_are_those_of_its_examples_one_by_one(
    family: str, packed: bool, loss_on: str, tiny_model: Make, prepared: TrainingSet
) -> None:
    if packed and family in LEAKS:
        pytest.skip("does not keep documents apart, which the check at the start finds")
    model, examples, weights = tiny_model(family), prepared.examples.first(8), LOSS_ON_WEIGHTS[loss_on]
    stage = _stage(max_tokens=4 * max(len(example.input_ids) for example in examples))
    batches = forward_passes(examples, weights, stage, 0, packed=packed)
    assert 1 < len(batches) < 8
    _assert_same_step(model, batches, micro_batches(examples, weights, 1))


def test_the_check_finds_the_models_that_do_not_keep_documents_apart(
    family: str, tiny_model: Make, prepared: TrainingSet
) -> None:
    assert keeps_documents_apart(tiny_model(family), prepared.examples.first(3)) == (family not in LEAKS)


def test_a_leak_is_found_in_a_model_that_has_learned_nothing(tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model("falcon")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.div_(4.0)  # as initialised
    assert not keeps_documents_apart(model, prepared.examples.first(3))


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
STATES: dict[str, dict[str, Any]] = {  # no layer hands on what it has seen but for some tokens
    "qwen3_next": {**SIZES, **LINEAR, **EXPERTS, "layer_types": ["linear_attention"] * 2, "head_dim": 8},
    "lfm2": {**SIZES, "layer_types": ["conv"] * 2},
}


@pytest.mark.parametrize("family", STATES)
def test_what_leaks_into_the_first_tokens_of_an_example_alone_is_found(family: str) -> None:
    torch.manual_seed(1)
    sizes = {"vocab_size": 512, "pad_token_id": None, "num_hidden_layers": 2, **STATES[family]}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    borders = [RegionBorders(n // 2, n - 9, n - 7, n - 4, n - 2, n) for n in (71, 25, 29, 33)]
    examples = [Example(str(b.num_tokens), torch.randint(1, 500, (b.num_tokens,)), b) for b in borders]
    assert not keeps_documents_apart(model, examples)


def test_a_gradient_that_differs_where_the_loss_does_not_is_found(
    tiny_model: Make, prepared: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frozen_if_packed(model: PreTrainedModel, batch: Batch) -> Tensor:
        losses = token_nll(model, batch)
        return losses if batch.position_ids is None else losses.detach() + 1e-3 * (losses - losses.detach())

    monkeypatch.setattr(parity, "token_nll", frozen_if_packed)
    assert not keeps_documents_apart(tiny_model("llama"), prepared.examples.first(3))


@pytest.mark.parametrize("family", ["mistral", "falcon"])
def test_half_precision_is_held_to_a_bound_of_its_own(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    apart = keeps_documents_apart(tiny_model(family), prepared.examples.first(3), "bf16")
    assert apart == (family not in LEAKS)


def test_a_long_example_and_the_shortest_ones_are_tried_in_one_row(prepared: TrainingSet) -> None:
    lengths = sorted(prepared.examples.num_tokens.tolist())
    tried = [len(example.input_ids) for example in together(prepared.examples, 10_000)]
    assert tried == [lengths[-1], *lengths[:3]]
    assert sum(len(e.input_ids) for e in together(prepared.examples, sum(lengths[:4]))) <= sum(lengths[:4])
    assert [len(e.input_ids) for e in together(prepared.examples, lengths[-1])][:2] == lengths[:2]


def test_the_check_draws_no_random_number_and_leaves_the_model_in_training(
    tiny_model: Make, prepared: TrainingSet
) -> None:
    model = tiny_model("gpt2").train()
    before = torch.get_rng_state()
    assert keeps_documents_apart(model, prepared.examples.first(3))
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_packed_row_holds_each_example_whole_and_counts_from_zero() -> None:
    long = Example("long", torch.arange(10, 20), RegionBorders(2, 5, 6, 8, 9, 10))
    short = Example("short", torch.arange(30, 35), RegionBorders(1, 2, 2, 3, 4, 5))
    batch = pack([collate([example], LOSS_ON_WEIGHTS["key"]) for example in (long, short)])
    assert batch.ids == ("long", "short")
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14, 15, 16, 30, 31]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1]]
    assert batch.labels.tolist() == [16, 17, 32]
    assert batch.input_ids[0, batch.positions].tolist() == [15, 16, 31]
    assert batch.rows.tolist() == [0, 0, 1]
    assert batch.num_tokens == 15


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(lengths=LENGTHS, room=st.integers(0, 100))
def test_every_example_is_in_exactly_one_group_within_the_budget(lengths: list[int], room: int) -> None:
    budget = max(lengths) + room
    packed, padded = best_fit(lengths, budget), padded_groups(lengths, budget)
    for groups in (packed, padded):
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= budget for group in packed)
    assert all(len(group) * max(lengths[i] for i in group) <= budget for group in padded)
    sums = sorted(sum(lengths[i] for i in group) for group in packed)
    assert len(sums) == 1 or sums[0] + sums[1] > budget  # no two groups could be one


def test_worked_groups() -> None:
    lengths = [5, 4, 3, 3, 2]
    assert [[lengths[i] for i in group] for group in best_fit(lengths, 9)] == [[5, 4], [3, 3, 2]]
    assert [[lengths[i] for i in group] for group in padded_groups(lengths, 9)] == [[2, 3, 3], [4], [5]]
    # 6 leaves 4 and 5 leaves 5: a 4 goes where least room remains
    assert best_fit([6, 5, 4], 10) == [[0, 2], [1]]


def test_packing_is_as_the_recipe_says_where_the_model_allows_it(
    tiny_model: Make, prepared: TrainingSet, capsys: pytest.CaptureFixture[str]
) -> None:
    llama, falcon, examples = tiny_model("llama"), tiny_model("falcon"), prepared.examples
    assert packs(llama, _stage(packing="on", max_tokens=900), examples)
    assert not packs(llama, _stage(packing="off", max_tokens=900), examples)
    assert not packs(llama, _stage(packing="auto", max_tokens=900), examples)  # slower on a CPU
    assert capsys.readouterr().err == ""
    assert not packs(falcon, _stage(packing="on", max_tokens=900), examples)
    line = "stage 's': FalconForCausalLM does not keep packed examples apart; examples of similar length are padded"
    assert capsys.readouterr().err == f"{line} instead\n"


def test_an_example_larger_than_the_budget_is_named(prepared: TrainingSet) -> None:
    longest = int(prepared.examples.num_tokens.max())
    check_budget(_stage(max_tokens=longest), prepared.examples)
    with pytest.raises(SFTKeyError, match=rf"stage 's': max_tokens is 20, but example '.*' has {longest} tokens"):
        check_budget(_stage(max_tokens=20), prepared.examples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 9, "micro_batch_size": 2}, "expected at most one of 'micro_batch_size' and 'max_tokens'"),
        ({"packing": "on"}, "packing = 'on' needs 'max_tokens'"),
        ({"packing": "on", "max_tokens": 9, "context_gradient": False}, "packing = 'on' needs context_gradient = true"),
        ({"prune_last_layer": True, "context_gradient": False}, "prune_last_layer needs context_gradient = true"),
    ],
    ids=["two-sizes", "no-budget", "with-a-cache", "prune-what-is-read"],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _stage(**changes)
