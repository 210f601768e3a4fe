"""The loss: which tokens it reads, which positions learn from it, and that it equals the straightforward one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch, Example, collate, micro_batches
from sftkey_train.batches.region_weights import NoTarget, region_weights
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.token_loss import selected_logits, sum_by_region, token_nll, weighted_loss
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Weights

Make = Callable[..., PreTrainedModel]
EVERY_REGION = Weights(prompt=0.1, cot=1, tag=0.5, key=10, eos=2)
STAGES = pytest.mark.parametrize(
    "weights",
    [LOSS_ON_WEIGHTS["completion"], LOSS_ON_WEIGHTS["answer"], LOSS_ON_WEIGHTS["key"], EVERY_REGION],
    ids=["full", "answer", "key", "all"],
)


def _reference(model: PreTrainedModel, examples: Sequence[Example], weights: Weights) -> Tensor:
    """Full logits of one example at a time, unpadded, labels shifted by one, every token weighed."""
    loss_sum, weight_sum = torch.zeros(()), torch.zeros(())
    for example in examples:
        logits = model(input_ids=example.input_ids[None]).logits[0, :-1].float()
        nll = functional.cross_entropy(logits, example.input_ids[1:], reduction="none")
        by_token = region_weights(example.borders, weights)[1:]
        loss_sum, weight_sum = loss_sum + (by_token * nll).sum(), weight_sum + by_token.sum()
    return loss_sum / weight_sum


def _step(model: PreTrainedModel, examples: Sequence[Example], weights: Weights, micro_batch_size: int = 0) -> float:
    """Loss of one global batch as the loop computes it; gradients are added up in the model."""
    batches = micro_batches(examples, weights, micro_batch_size)
    total_weight = sum(float(batch.weights.sum()) for batch in batches)
    shares = [weighted_loss(token_nll(model, batch), batch.weights, total_weight) for batch in batches]
    for share in shares:
        share.backward()
    return float(sum(float(share.detach()) for share in shares))


def _gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def _assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


def test_a_worked_number() -> None:
    # Two micro-batches, weights (1, 3) and (1): normaliser 5, loss (1*1 + 3*2 + 1*4) / 5, not a mean of means.
    first = weighted_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), 5.0)
    second = weighted_loss(torch.tensor([4.0]), torch.tensor([1.0]), 5.0)
    assert float(first) == pytest.approx(7 / 5)
    assert float(first + second) == pytest.approx(11 / 5)


def test_a_uniform_model_pays_the_logarithm_of_its_vocabulary(tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model("llama")
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    loss = _step(model, prepared.examples.first(4), EVERY_REGION)
    assert loss == pytest.approx(float(torch.tensor(512.0).log()))


def test_a_batch_without_weight_is_an_error_and_not_zero() -> None:
    with pytest.raises(NoTarget, match="sum to zero"):
        weighted_loss(torch.tensor([1.0]), torch.tensor([0.0]), 0.0)


@STAGES
def test_loss_and_gradients_equal_the_full_logits_reference(
    family: str, weights: Weights, tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples = tiny_model(family), prepared.examples.first(6)
    reference = _reference(model, examples, weights)
    reference.backward()
    expected = _gradients(model)
    loss = _step(model, examples, weights)
    assert loss == pytest.approx(float(reference.detach()), rel=1e-5)
    _assert_close(_gradients(model), expected)


def test_padding_changes_no_logit(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model(family), prepared.examples.first(6)
    assert len({len(example.input_ids) for example in examples}) > 1
    batch = collate(examples, EVERY_REGION, pad_token_id=5)
    padded = selected_logits(model, batch)
    for row, example in enumerate(examples):
        alone = selected_logits(model, collate([example], EVERY_REGION))
        torch.testing.assert_close(padded[batch.rows == row], alone, rtol=1e-5, atol=1e-4)


def test_the_padding_token_does_not_matter(tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model("qwen2"), prepared.examples.first(6)
    one, other = (token_nll(model, collate(examples, EVERY_REGION, pad_token_id=pad)) for pad in (3, 400))
    assert torch.equal(one, other)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_splitting_a_batch_changes_nothing_beyond_rounding(size: int, tiny_model: Make, prepared: TrainingSet) -> None:
    model, examples = tiny_model("llama"), prepared.examples.first(8)
    whole = _step(model, examples, EVERY_REGION)
    expected = _gradients(model)
    assert _step(model, examples, EVERY_REGION, size) == pytest.approx(whole, rel=1e-6)
    _assert_close(_gradients(model), expected)


@pytest.mark.parametrize("source", ["prepared", "straddling"])
@pytest.mark.parametrize("loss_on", ["answer", "key"])
def test_only_labels_of_the_target_change_the_loss(
    source: str, loss_on: str, tiny_model: Make, request: pytest.FixtureRequest
) -> None:
    data: TrainingSet = request.getfixturevalue(source)
    model, example = tiny_model("qwen2"), data.examples[0]
    weights = Weights(key=1) if loss_on == "key" else Weights(tag=1, key=1, eos=1)
    start, end = example.borders.key_token_start, example.borders.key_token_end
    targets = range(start, end) if loss_on == "key" else range(example.borders.cot_token_end, len(example.input_ids))
    loss = _loss(model, collate([example], weights))
    for token in range(len(example.input_ids)):
        changed = _loss(model, _with_label(example, token, weights))
        assert (changed != loss) == (token in targets), f"token {token}, targets {targets}"


def _with_label(example: Example, token: int, weights: Weights) -> Batch:
    """The example's batch with one token changed as a label and left as an input."""
    ids = example.input_ids.clone()
    ids[token] = (ids[token] + 1) % 400
    perturbed = collate([Example(example.id, ids, example.borders)], weights)
    return replace(perturbed, input_ids=collate([example], weights).input_ids)


def _loss(model: PreTrainedModel, batch: Batch) -> float:
    with torch.no_grad():
        return float(weighted_loss(token_nll(model, batch), batch.weights, float(batch.weights.sum())))


@pytest.mark.parametrize("source", ["prepared", "straddling"])
def test_stage_2_gradients_come_exactly_from_the_positions_that_predict_the_key(
    source: str, tiny_model: Make, request: pytest.FixtureRequest
) -> None:
    data: TrainingSet = request.getfixturevalue(source)
    model, examples = tiny_model("llama"), data.examples.first(5)
    hidden: list[Tensor] = []

    def keep(_module: object, _args: object, output: Tensor) -> None:
        if output.requires_grad:  # not when the output layer is tried out
            output.retain_grad()
            hidden.append(output)

    model.model.norm.register_forward_hook(keep)
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    _step(model, examples, LOSS_ON_WEIGHTS["key"])
    gradient = hidden[0].grad
    assert gradient is not None
    for row, example in enumerate(by_length):
        learning = gradient[row].abs().sum(-1).nonzero().flatten().tolist()
        assert learning == list(range(example.borders.key_token_start - 1, example.borders.key_token_end - 1))


def test_a_straddling_key_is_trained_on_whole(straddling: TrainingSet) -> None:
    for example in straddling.examples.first(20):
        labels = collate([example], LOSS_ON_WEIGHTS["key"]).labels.tolist()
        text = straddling.tokenizer.decode(labels)
        assert text.startswith(" ")  # the token that straddles the start brings the space before the Key
        assert text.strip().isdigit()


def test_an_output_layer_that_is_not_used_is_refused(tiny_model: Make, prepared: TrainingSet) -> None:
    model = tiny_model("llama")
    unused = torch.nn.Linear(32, 512)
    model.get_output_embeddings = lambda: unused
    with pytest.raises(SFTKeyError, match=r"returned logits of shape .* expected \(1, \d+, V\)"):
        token_nll(model, collate(prepared.examples.first(2), LOSS_ON_WEIGHTS["key"]))


def test_after_the_loss_the_model_gives_all_logits_again(tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model("llama"), collate(prepared.examples.first(2), LOSS_ON_WEIGHTS["key"])
    token_nll(model, batch)
    assert model(input_ids=batch.input_ids).logits.shape == (*batch.input_ids.shape, 512)


def test_sums_by_region_are_apart() -> None:
    sums = sum_by_region(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3, 1, 1]), 5)
    assert sums.tolist() == [0, 6, 0, 1, 0]
