"""Logits held at once: never more bytes than the rule or the recipe says, and the same losses and gradients for any."""

import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import metric_rows
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss import output_layer
from sftkey_train.loss.output_layer import linear_nll, linear_nll_and_choice, logit_budget, tokens_at_once
from sftkey_train.loss.token_loss import nll_and_choice, token_nll
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Path]
N, H, V = 37, 16, 100
SIZES = [4 * V, 4 * 8 * V, 4 * 36 * V, 2**28]
"""Bytes: one token at a time, five chunks, a last one of a single token, all at once."""


class _Held(TorchDispatchMode):
    """The most bytes that tensors as wide as the vocabulary took at one time, each storage once."""

    def __init__(self) -> None:
        super().__init__()
        self.most, self._sizes, self._users = 0, dict[int, int](), Counter[int]()

    def _dropped(self, storage: int) -> None:
        self._users[storage] -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor) and tensor.dim() == 2 and tensor.shape[1] == V and tensor.shape[0] != H:
                storage = tensor.untyped_storage().data_ptr()
                self._sizes[storage] = tensor.untyped_storage().nbytes()
                self._users[storage] += 1
                weakref.finalize(tensor, self._dropped, storage)
        self.most = max(self.most, sum(self._sizes[storage] for storage, num in self._users.items() if num > 0))
        return result


def _tensors() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((N, H), (V, H), (V,)))
    return hidden, weight, bias, torch.randint(V, (N,)), torch.rand(N)


@pytest.mark.parametrize(("dtype", "per_logit"), [(torch.float32, 4), (torch.bfloat16, 6)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("use", ["as-announced", "in-another-way"])
def test_no_more_bytes_are_held_than_the_budget_and_hardly_fewer(dtype: torch.dtype, per_logit: int, use: str) -> None:
    *tensors, weights = _tensors()
    for tokens in (1, 8, 20):
        budget = tokens * V * per_logit + 3
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), _Held() as held:
            nll = linear_nll(*tensors, weights, logit_bytes=budget)
            nll = (weights * nll if use == "as-announced" else nll.exp()).sum()
        with held:
            nll.backward()
        assert held.most == budget - 3
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), _Held() as held:
            linear_nll_and_choice(*tensors, logit_bytes=budget)
        assert held.most == budget - 3


@pytest.mark.parametrize("logit_bytes", SIZES)
def test_loss_and_gradients_do_not_depend_on_the_size_of_a_chunk(logit_bytes: int) -> None:
    *tensors, weights = _tensors()
    expected, nll = (linear_nll(*tensors, weights, logit_bytes=size) for size in (5 * 4 * V, logit_bytes))
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad((weights * nll).sum(), tensors[:3])
    for gradient, other in zip(gradients, torch.autograd.grad((weights * expected).sum(), tensors[:3]), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-6)
    measured, other = (linear_nll_and_choice(*tensors, logit_bytes=size) for size in (5 * 4 * V, logit_bytes))
    torch.testing.assert_close(measured, other, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(measured[:, 0], nll.detach(), rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_model_does_not_depend_on_it(family: str, tiny_model: Make, prepared: TrainingSet) -> None:
    model, batch = tiny_model(family), collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["completion"])
    by_rule, chosen = nll_and_choice(model, batch)
    nll, same = nll_and_choice(model, batch, logit_bytes=3 * 4 * 512)
    torch.testing.assert_close(nll, by_rule, rtol=1e-5, atol=1e-5)
    assert torch.equal(chosen, same)
    torch.testing.assert_close(token_nll(model, batch, logit_bytes=3 * 4 * 512), nll, rtol=1e-5, atol=1e-5)


def test_a_run_has_the_figures_of_the_rule_whatever_the_recipe_says(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables |= {
        "stage": [tables["stage"][0] | {"steps": 1, "warmup_steps": 0}],
        "heldout": tables["data"],
        "heldout_examples": 2,
    }
    tables["model"]["config"] |= {"vocab_size": 8000, "hidden_size": 8, "intermediate_size": 8}  # 1 MiB: 32 tokens
    sizes, rows, at_once = list[int](), [], output_layer.tokens_at_once

    def seen(*arguments: Any) -> int:
        sizes.append(at_once(*arguments))
        return sizes[-1]

    monkeypatch.setattr(output_layer, "tokens_at_once", seen)
    for mib in (0, 1):
        out = Path(tables["out"]) / str(mib)
        sizes.clear()
        list(run_recipe(load_recipe(write_recipe(tables), [f"out={out}", f"logits_mib={mib}"])))
        assert (set(sizes) == {32}) == bool(mib)
        rows.append(metric_rows(out))
    for row, other in zip(*rows, strict=True):
        assert row["loss_by_region"] == pytest.approx(other["loss_by_region"], rel=1e-5)


@pytest.mark.parametrize(
    ("dtype", "num", "vocab_size", "budget", "expected"),
    [
        (torch.float32, 5000, 151_936, 2**28, 441),
        (torch.bfloat16, 5000, 151_936, 2**28, 294),
        (torch.float32, 7, 1000, 10_000, 2),
        (torch.float32, 7, 1000, 1, 1),
        (torch.float32, 7, 10, 10_000, 7),
        (torch.float32, 0, 10, 10_000, 1),
    ],
)
def test_worked_sizes(dtype: torch.dtype, num: int, vocab_size: int, budget: int, expected: int) -> None:
    assert tokens_at_once(num, vocab_size, dtype, budget) == expected


@pytest.mark.parametrize(("gib", "expected"), [(8, 2**28), (16, 2**28), (80, 80 * 2**24), (141, 141 * 2**24)])
def test_a_gpu_gives_a_share_of_its_memory(gib: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what torch says of it, as there is none here."""
    assert logit_budget(torch.device("cpu")) == 2**28
    properties = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert logit_budget(torch.device("cuda", 1)) == expected
