"""What holds on every device: each test runs on the CPU and, marked `gpu`, on a GPU (`make gpu-test`)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import Largest, device_named
from processes import metric_rows
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_train import loop
from sftkey_train.batches.batch import Batch, Example, collate
from sftkey_train.batches.packing import pack
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.output_layer import LEAST_BYTES, SHARE_OF_GPU, linear_nll, logit_budget
from sftkey_train.loss.token_loss import token_nll
from sftkey_train.model.attention_choice import INSTALLED
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Weights

Make = Callable[..., PreTrainedModel]
ON_A_GPU = pytest.mark.gpu
ATTENTION = [
    *(pytest.param(name, "cpu", id=f"cpu-{name}") for name in ("eager", "sdpa")),
    *(pytest.param(name, "cuda", marks=ON_A_GPU, id=f"cuda-{name}") for name in ("eager", "sdpa", "flex_attention")),
    *(pytest.param(name, "cuda", marks=ON_A_GPU, id=f"cuda-{name}") for name in INSTALLED),
]


def _step(model: PreTrainedModel, batches: Sequence[Batch], *, half: bool) -> tuple[Tensor, Tensor]:
    """Losses token by token and the gradient of their mean, in one row."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
        nll = torch.cat([token_nll(model, batch.to(model.device)) for batch in batches])
    nll.mean().backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return nll.detach(), gradient


@pytest.mark.parametrize(("attention", "name"), ATTENTION)
@pytest.mark.parametrize("family", ["qwen2", "mistral"])  # the second with a window
def test_packed_examples_have_losses_and_gradients_of_each_alone(
    family: str, attention: str, name: str, tiny_model: Make, prepared: TrainingSet
) -> None:
    on = device_named(name)
    half = attention in INSTALLED
    if half and not INSTALLED[attention][1]():
        pytest.skip(f"{INSTALLED[attention][0]} is not installed")
    alone = [collate([example], LOSS_ON_WEIGHTS["completion"]) for example in prepared.examples.first(4)]
    # Flex and flash attention take no heads of 8 numbers.
    model = tiny_model(family, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16).to(on)
    model.set_attn_implementation("eager")
    nll, gradient = _step(model, alone, half=half)
    model.set_attn_implementation(attention)
    packed_nll, packed_gradient = _step(model, [pack(alone)], half=half)
    bound = 0.05 if half else 1e-4
    torch.testing.assert_close(packed_nll, nll, rtol=bound, atol=bound)
    assert (packed_gradient - gradient).norm() < bound * gradient.norm()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param("cpu", "bf16", marks=pytest.mark.slow),
        *(pytest.param("cuda", precision, marks=ON_A_GPU) for precision in ("fp32", "bf16")),
    ],
)
def test_a_run_has_the_losses_of_one_on_a_cpu_in_full_precision(
    name: str, precision: str, tables: dict[str, Any], run_with: Callable[..., Path]
) -> None:
    del tables["model"]["config"]["attention_dropout"]  # its random numbers are those of a device
    tables["stage"] = [tables["stage"][0] | {"steps": 3}]
    device, of_cpu = device_named(name), run_with("cpu", "device=cpu")
    found = run_with("run", f"device={device.type}", f"precision={precision}")
    bound = 1e-4 if precision == "fp32" else 0.03
    for row, expected in zip(metric_rows(found), metric_rows(of_cpu), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=bound)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=max(bound, 1e-3) * 3)


def test_batches_are_made_in_memory_that_a_gpu_reads_by_itself(
    device: torch.device, tables: dict[str, Any], run_with: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["stage"] = [tables["stage"][0] | {"steps": 3, "micro_batch_size": 3}]
    pinned, weigh = [], loop.weighted_batches

    def weighted(batches: list[Batch], *arguments: Any) -> list[Batch]:
        pinned.extend(batch.input_ids.is_pinned() for batch in batches)
        return weigh(batches, *arguments)

    monkeypatch.setattr(loop, "weighted_batches", weighted)
    run_with("run", f"device={device.type}")
    assert pinned == [device.type == "cuda"] * 9


def test_no_more_logits_are_held_than_the_budget_says(device: torch.device) -> None:
    """On a GPU by its allocator too: the logits, their labels' room, gradients of both inputs and little else."""
    num, size, vocab_size, budget = 2048, 16, 8000, 2**20
    hidden, weight = (torch.randn(n, size, device=device, requires_grad=True) for n in (num, vocab_size))
    labels, weights = torch.arange(num, device=device) % vocab_size, torch.ones(num, device=device)
    inputs = sum(tensor.nbytes for tensor in (hidden, weight))
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    with Largest() as largest:
        linear_nll(hidden, weight, None, labels, weights, only_weighted=True, logit_bytes=budget).sum().backward()  # type: ignore[no-untyped-call]
    assert budget - 4 * vocab_size < 4 * largest.elements <= budget
    if device.type == "cuda":
        assert torch.cuda.max_memory_allocated() - before < 2 * budget + 3 * inputs + 64 * num
    expected = LEAST_BYTES
    if device.type == "cuda":
        expected = max(expected, torch.cuda.get_device_properties(device).total_memory // SHARE_OF_GPU)
    assert logit_budget(device) == expected


def test_a_long_context_is_read_in_parts_that_the_device_has_room_for(device: torch.device, tiny_model: Make) -> None:
    ids = torch.arange(1506) % 400
    batch = collate([Example("long", ids, RegionBorders(2, 1500, 1501, 1504, 1505, 1506))], Weights(key=1))
    model, sizes = tiny_model("llama", max_position_embeddings=2048).to(device), list[int]()
    token_nll(model, batch.to(device))  # the first finds out about the logits
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: sizes.append(args[0].numel()))
    token_nll(model, batch.to(device), context_gradient=False)
    assert sizes == ([1500, 3] if device.type == "cuda" else [1024, 476, 3])
