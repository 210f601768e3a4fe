"""What a stage minimises: every option against a straightforward reference with the logits of every token."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
import torch
from plain import plain_loss
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_data.schema import REGIONS, TOKEN_BORDERS
from sftkey_train.batches.batch import Example, ExampleOrder, Examples
from sftkey_train.batches.region_weights import NoTarget
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.anchor import frozen
from sftkey_train.loss.objective import batch_loss, check_targets, step_batches, token_costs, token_loss
from sftkey_train.loss.output_layer import linear_nll
from sftkey_train.recipe import Stage

Make = Callable[..., PreTrainedModel]
FAMILIES = ["llama", "qwen2", "gpt2", "gemma2"]
ORDER = ExampleOrder(seed=3, depth=1, num_examples=60, batch_size=8, num_seen=40)
EVERYTHING: dict[str, Any] = {"prompt": 0.1, "cot": 1, "tag": 0.5, "key": 10, "eos": 2}
SCALE = {"weights": {"cot": 1, "eos": 1}, "weights_end": {"key": 4, "eos": 0.5}}
OPTIONS: dict[str, dict[str, Any]] = {
    "token": {"weights": EVERYTHING},
    "example": {"weights": EVERYTHING, "normalisation": "example"},
    "region": {"weights": EVERYTHING, "normalisation": "region"},
    "dft": {"weights": EVERYTHING, "token_loss": "dft"},
    "focal": {"weights": EVERYTHING, "token_loss": "focal"},
    "focal-half": {"weights": EVERYTHING, "token_loss": "focal", "focal_gamma": 0.5, "normalisation": "example"},
    "focal-anchor": {"loss_on": "answer", "token_loss": "focal", "focal_gamma": 3, "anchor": 0.5},
    "focal-placebo": {"loss_on": "key", "token_loss": "focal", "placebo": True, "normalisation": "region"},
    "linear": {**SCALE, "weight_schedule": "linear"},
    "scale": {**SCALE, "weight_schedule": "cosine", "normalisation": "region"},
    "placebo": {"weights": {"tag": 1, "key": 3, "eos": 1}, "placebo": True},
    "anchor": {"loss_on": "answer", "anchor": 0.5},
    "all-example": {**SCALE, "weight_schedule": "cosine", "placebo": True, "anchor": 0.3, "token_loss": "dft"}
    | {"normalisation": "example"},
    "all-region": {"loss_on": "key", "placebo": True, "anchor": 0.3, "normalisation": "region"},
}
EVERY_OPTION = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def _stage(**options: Any) -> Stage:
    return Stage(name="a", steps=5, batch_size=8, lr=1e-3, **options)


def _reference_of(model: PreTrainedModel) -> PreTrainedModel:
    """Another model of the same kind, so that the KL between the two is far from zero."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return frozen(other)


def _step(
    model: PreTrainedModel, examples: Sequence[Example], stage: Stage, step: int, reference: PreTrainedModel
) -> float:
    """Loss of one step as the loop computes it; gradients are added up in the model."""
    loss = 0.0
    for batch in step_batches(stage, examples, step, ORDER, pad_token_id=0):
        share = batch_loss(token_costs(model, batch, reference if stage.anchor else None), batch, stage)
        share.backward()
        loss += float(share.detach())
    return loss


def _gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def _assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert difference < 1e-5, f"{name}: relative difference {difference:.1e}"


@EVERY_OPTION
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_the_full_logits_reference(
    family: str, options: dict[str, Any], tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples, stage = tiny_model(family), prepared.examples.first(6), _stage(**options)
    reference = _reference_of(model)
    for step in (1, 3, 5) if stage.weights_end else (1,):
        expected_loss = plain_loss(model, examples, stage, step, ORDER, reference)
        expected_loss.backward()
        expected = _gradients(model)
        loss = _step(model, examples, stage, step, reference)
        assert loss == pytest.approx(float(expected_loss.detach()), rel=1e-5)
        _assert_close(_gradients(model), expected)


@EVERY_OPTION
def test_splitting_a_batch_changes_nothing_beyond_rounding(
    options: dict[str, Any], tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples = tiny_model("llama"), prepared.examples.first(8)
    reference = _reference_of(model)
    whole = _step(model, examples, _stage(**options), 2, reference)
    expected = _gradients(model)
    for size in (1, 2, 4, 8):
        stage = _stage(**options, micro_batch_size=size)
        assert _step(model, examples, stage, 2, reference) == pytest.approx(whole, rel=1e-6)
        _assert_close(_gradients(model), expected)


def test_dft_is_a_worked_number_with_a_quarter_of_the_gradient() -> None:
    nll = torch.tensor([4.0]).log().requires_grad_()  # a token of probability 1/4
    cost = token_loss(nll, torch.tensor([True]), _stage(loss_on="key", token_loss="dft"))
    assert float(cost.detach()) == pytest.approx(1.3863 / 4, rel=1e-4)
    cost.sum().backward()
    assert nll.grad.tolist() == pytest.approx([0.25])


def test_focal_is_a_worked_number_on_the_key_and_nll_elsewhere() -> None:
    nll = torch.tensor([4.0, 4.0]).log().requires_grad_()  # two tokens of probability 1/4, the second of the Key
    cost = token_loss(nll, torch.tensor([False, True]), _stage(loss_on="answer", token_loss="focal"))
    assert cost.tolist() == pytest.approx([1.3863, 1.3863 * 9 / 16], rel=1e-4)
    cost.sum().backward()
    assert nll.grad.tolist() == pytest.approx([1, 9 / 16 + 2 * 3 / 4 * 1 / 4 * 1.3863], rel=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_differentiated_whole_and_is_finite_at_both_ends(gamma: float) -> None:
    stage = _stage(loss_on="key", token_loss="focal", focal_gamma=gamma)
    nll = torch.tensor([1e-3, 0.1, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda costs: token_loss(costs, torch.ones(4).bool(), stage), nll)
    ends = torch.tensor([0.0, 1e-30, 200.0], requires_grad=True)  # certain, as good as certain, hopeless
    cost = token_loss(ends, torch.ones(3).bool(), stage)
    cost.sum().backward()
    assert cost.tolist() == pytest.approx([0, 0, 200])
    assert ends.grad.tolist() == pytest.approx([0, 0, 1], abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_focal_gradient_is_the_plain_one_to_a_millionth(
    gamma: float, tiny_model: Make, prepared: TrainingSet
) -> None:
    stage = _stage(weights=EVERYTHING, token_loss="focal", focal_gamma=gamma)
    (batch,) = step_batches(stage, prepared.examples.first(6), 1, ORDER, pad_token_id=0)
    hidden, weight = torch.randn(len(batch.labels), 32), torch.randn(512, 32, requires_grad=True)
    nll = linear_nll(hidden, weight, None, batch.labels, batch.weights)
    batch_loss(nll, batch, stage).backward()
    found, exact = weight.grad.double(), weight.detach().double().requires_grad_()
    p = (hidden.double() @ exact.T).softmax(-1)[torch.arange(len(batch.labels)), batch.labels]
    factor = torch.where(batch.regions == REGIONS.index("key"), (1 - p) ** gamma, 1.0)
    (-p.log() * factor * batch.weights.double()).sum().backward()
    assert (found - exact.grad).norm() / exact.grad.norm() < 1e-6


@pytest.mark.parametrize(("kind", "expected"), [("nll", 6.2383), ("dft", 6.2383 / 512)])
def test_every_mean_of_equal_costs_is_that_cost(
    kind: str, expected: float, tiny_model: Make, prepared: TrainingSet
) -> None:
    model, examples = tiny_model("llama"), prepared.examples.first(4)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)  # every token has the probability 1/512, ln 512 = 6.2383
    for normalisation in ("token", "example", "region"):
        stage = _stage(weights=EVERYTHING, normalisation=normalisation, token_loss=kind)
        assert _step(model, examples, stage, 1, model) == pytest.approx(expected, rel=1e-4)


def _examples(borders: list[tuple[int, ...]], num_tokens: int) -> Examples:
    columns = {name: [b[i] for b in borders] for i, name in enumerate(TOKEN_BORDERS)}
    ids = {"id": [f"d/train/{i}" for i in range(len(borders))]}
    tokens = {"input_ids": pa.array([list(range(num_tokens))] * len(borders), pa.list_(pa.int32()))}
    return Examples(pa.table({**ids, **tokens, **columns}))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"weights": {"cot": 1}}, "stage 'a'"),
        ({"weights": {"cot": 1}, "weights_end": {"key": 1}, "weight_schedule": "linear"}, "stage 'a'"),
        ({"weights": {"key": 1}, "weights_end": {"cot": 1}, "weight_schedule": "linear"}, "stage 'a' at its last step"),
        ({"weights": {"tag": 1, "key": 1, "eos": 1}, "anchor": 1}, "stage 'a': anchor"),
    ],
    ids=["plain", "first", "last", "anchor"],
)
def test_examples_without_a_target_at_either_end_are_refused_before_the_first_step(
    options: dict[str, Any], where: str
) -> None:
    examples = _examples([(1, 2, 3, 4, 4), (1, 1, 3, 4, 4)], num_tokens=5)  # the second has no CoT
    with pytest.raises(NoTarget) as caught:
        check_targets(_stage(**options), examples)
    assert str(caught.value) == f"{where}: 1 of 2 examples have no token with a weight: d/train/1"


def test_a_batch_without_a_target_is_an_error_and_not_zero() -> None:
    without_key = _examples([(1, 2, 2, 2, 2)], num_tokens=3)
    with pytest.raises(NoTarget, match="sum to zero"):
        step_batches(_stage(loss_on="key", anchor=1), [without_key[0]], 1, ORDER, 0)


def test_a_region_without_weight_at_one_end_is_a_target_from_the_first_step_to_the_last(prepared: TrainingSet) -> None:
    stage = _stage(weights={"cot": 1}, weights_end={"key": 1}, weight_schedule="cosine", anchor=1)
    assert stage.target_regions == ("cot", "key")
    assert stage.anchored_regions == ("tag", "eos")
    for step, weighs in ((1, {"cot"}), (3, {"cot", "key"}), (5, {"key"})):
        (batch,) = step_batches(stage, prepared.examples.first(3), step, ORDER, 0)
        is_target = batch.anchor == 0
        assert {REGIONS[r] for r in batch.regions[is_target]} == {"cot", "key"}
        assert {REGIONS[r] for r in batch.regions[batch.weights > 0]} == weighs
        assert {REGIONS[r] for r in batch.regions[~is_target]} == {"tag", "eos"}
