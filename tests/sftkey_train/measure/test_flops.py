"""The FLOP count: by hand, and against torch's own counter."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from sftkey_data.schema import REGIONS
from sftkey_train.batches.batch import Example, collate
from sftkey_train.batches.packing import pack
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.token_loss import selected_logits
from sftkey_train.measure.flops import FlopCount, StepWork, flop_count, num_context, num_inputs, peak_flops
from sftkey_train.model.lora import add_adapter
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Weights
from sftkey_train.recipe_tables import Lora

Make = Callable[..., PreTrainedModel]


def test_the_cost_of_a_small_llama_by_hand(tiny_model: Make) -> None:
    count = flop_count(tiny_model("llama"))
    # per layer: q, k, v, o of 32 x 32 and three of 32 x 48; two layers; the head is 512 x 32; four heads of 8
    assert count.learning == StepWork(
        tokens=6 * 2 * (4 * 32 * 32 + 3 * 32 * 48), labels=6 * 512 * 32, pairs=12 * 2 * 32
    )
    assert count.reading == StepWork(tokens=2 * 2 * (4 * 32 * 32 + 3 * 32 * 48), labels=2 * 512 * 32, pairs=4 * 2 * 32)


def test_a_frozen_weight_costs_no_gradient_of_its_own(tiny_model: Make) -> None:
    model = tiny_model("llama")
    add_adapter(model, Lora(r=2, target_modules=("q_proj",)), seed=0)
    count = flop_count(model)
    assert count.learning.tokens == 4 * 2 * (4 * 32 * 32 + 3 * 32 * 48) + 6 * 2 * (2 * 32 + 32 * 2)
    assert count.learning.labels == 4 * 512 * 32
    assert count.reading.tokens == 2 * 2 * (4 * 32 * 32 + 3 * 32 * 48) + 2 * 2 * (2 * 32 + 32 * 2)


def _numbered(num_prompt: int, num: int) -> Example:
    return Example(f"{num}", torch.arange(num), RegionBorders(num_prompt, num - 4, num - 3, num - 2, num - 1, num))


def test_a_context_that_is_only_read_costs_its_forward_pass_alone() -> None:
    # The Keys are tokens 7 and 4, predicted by inputs 6 and 3: 7 + 4 inputs, of which 6 + 3 are context; of the
    # 28 + 10 pairs, 21 + 6 lie within it.
    batch, count = (
        collate([_numbered(2, 10), _numbered(1, 7)], Weights(key=1)),
        FlopCount(StepWork(6, 60, 12), StepWork(2, 20, 4)),
    )
    assert num_context(batch).tolist() == [6, 3]
    assert count.of([batch]) == 6 * 11 + 60 * 2 + 12 * 38
    assert count.of([batch], context_gradient=False) == (6 * 2 + 2 * 9) + 60 * 2 + (12 * 11 + 4 * 27)


def test_the_reference_of_an_anchor_costs_a_forward_pass_and_its_logits() -> None:
    batch, count = (
        collate([_numbered(2, 10)], Weights(cot=1, key=1)),
        FlopCount(StepWork(6, 60, 12), StepWork(2, 20, 4)),
    )
    anchored = replace(batch, anchor=(batch.regions == REGIONS.index("cot")).float())  # tokens 2 to 5, beside the Key
    assert count.of([anchored], has_reference=True) == (6 * 7 + 60 * 5 + 12 * 28) + (2 * 7 + 20 * 4 + 4 * 28)


def test_padding_and_what_follows_the_last_weighted_token_are_not_counted(prepared: TrainingSet) -> None:
    examples = prepared.examples.first(4)
    batch = collate(examples, Weights(key=1))
    assert num_inputs(batch).tolist() == [example.borders.key_token_end - 1 for example in examples]
    assert len(set(num_inputs(batch).tolist())) > 1


def test_packed_examples_cost_what_they_cost_alone(tiny_model: Make, prepared: TrainingSet) -> None:
    alone = [collate([example], LOSS_ON_WEIGHTS["answer"]) for example in prepared.examples.first(4)]
    packed, count = pack(alone), flop_count(tiny_model("llama"))
    assert num_inputs(packed).tolist() == [int(num_inputs(batch)) for batch in alone]
    assert count.of([packed]) == count.of(alone)


@pytest.mark.parametrize("loss_on", ["completion", "key"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_the_count_agrees_with_torch(family: str, loss_on: Any, tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model(family)
    model.set_attn_implementation("eager")
    batch = collate(prepared.examples.first(1), LOSS_ON_WEIGHTS[loss_on])  # one example: torch counts padding, too
    with FlopCounterMode(display=False) as counter:  # which does not see the products of the fused output layer
        nll = functional.cross_entropy(selected_logits(model, batch), batch.labels, reduction="sum")
        nll.backward()  # type: ignore[no-untyped-call]
    count, (num,) = flop_count(model), num_inputs(batch).tolist()
    unseen = count.learning.pairs * num * (num - 1) // 2  # eager attention also computes what the mask then hides
    assert count.of([batch]) + unseen == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_the_count_of_a_read_context_agrees_with_torch(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model(family)
    model.set_attn_implementation("eager")
    batch = collate(prepared.examples.first(1), LOSS_ON_WEIGHTS["answer"])
    with FlopCounterMode(display=False) as counter:
        logits = selected_logits(model, batch, context_gradient=False)
        functional.cross_entropy(logits, batch.labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    count, (num,), (read,) = flop_count(model), num_inputs(batch).tolist(), num_context(batch).tolist()
    answer = num - read
    unseen = count.learning.pairs * answer * (answer - 1) // 2 + count.reading.pairs * read * (read - 1) // 2
    expected = count.of([batch], context_gradient=False) + unseen
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_peak_is_as_given_or_unknown_on_a_cpu() -> None:
    assert peak_flops(3e12, torch.device("cpu"), "fp32") == 3e12
    assert peak_flops(None, torch.device("cpu"), "bf16") is None
