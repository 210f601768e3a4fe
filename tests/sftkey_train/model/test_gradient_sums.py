"""Gradients summed during the backward pass are those summed after it, whatever each rank has had to compute."""

from typing import Any

import torch
from processes import run_together
from torch import Tensor, nn

from sftkey_train import ranks
from sftkey_train.model import gradient_sums as module
from sftkey_train.model.gradient_sums import gradient_sums


class _Model(nn.Module):
    """A tied matrix, one that only some inputs use, one that none uses, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.never, self.embedding = nn.Linear(8, 8, bias=False), nn.Embedding(50, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.sometimes = nn.Linear(8, 8, bias=False)  # in the first bucket, which waits for it
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(8, dtype=torch.bfloat16))

    def forward(self, ids: Tensor, *, special: bool) -> Tensor:
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        hidden = self.sometimes(hidden) if special else hidden
        return ((self.frozen(hidden) * self.scale) @ self.embedding.weight.T).square().sum()


# Of each rank: its passes of a step, and whether each uses what only some use.
STEPS: list[tuple[list[bool], list[bool]]] = [
    ([False, False], [False]),
    ([False, True], []),
    ([True, False], [False, False, False]),
    ([], [False]),
    ([], [True]),
]


def _passes(step: int) -> list[tuple[Tensor, bool]]:
    generator = torch.Generator().manual_seed(10 * step + ranks.rank())
    return [(torch.randint(50, (2, 5), generator=generator), special) for special in STEPS[step][ranks.rank()]]


def _sum_plainly(model: nn.Module) -> dict[str, Tensor | None]:
    """By the definition: each gradient by itself, after all passes."""
    sums: dict[str, Tensor | None] = {}
    for name, parameter in model.named_parameters():
        everywhere = ranks.gather(parameter.grad)
        there = [gradient for gradient in everywhere if gradient is not None]
        sums[name] = sum(there[1:], there[0]) if there else None
    return sums


def _compare() -> None:
    module.BUCKET_ELEMENTS = 200  # of two layers or so, so that there are several
    model: Any = _Model()
    with ranks.process_group(cuda=False):
        with gradient_sums(model) as sums:
            for step in range(len(STEPS)):
                passes = _passes(step)
                for ids, special in passes:
                    model(ids, special=special).backward()
                expected = _sum_plainly(model)
                model.zero_grad()
                sent = list[int]()
                sums.expect(len(passes))
                for ids, special in passes:
                    sums.backward(model(ids, special=special))
                    sent.append(sums._next)
                sums.finish()
                assert sent[:-1] == [0] * len(sent[:-1])
                assert not passes or (sent[-1] > 0) == passes[-1][1]
                for name, parameter in model.named_parameters():
                    same = expected[name]
                    assert (parameter.grad is None) == (same is None), name
                    assert same is None or torch.equal(parameter.grad, same), name
                assert model.frozen.weight.grad is None
                assert model.never.weight.grad is None
                model.zero_grad()
        model(torch.zeros(1, 2, dtype=torch.long), special=True).backward()  # no hook is left
        assert [p._post_accumulate_grad_hooks for p in model.parameters() if p._post_accumulate_grad_hooks] == []


def test_sums_on_the_way_are_those_afterwards_to_the_bit() -> None:
    assert run_together(2, _compare) == [0, 0]
