"""What the roofline takes for a step: operations, FLOPs and bytes, against torch, by hand, and our own count."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, PreTrainedModel

from sftkey_train.batches.batch import Batch, ExampleOrder
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.measure.flops import flop_count
from sftkey_train.measure.loss_tally import LossTally
from sftkey_train.measure.unread_steps import UnreadSteps
from sftkey_train.model.optimizer import build_optimizer, clip_gradients, step_if
from sftkey_train.recipe import Stage

STAGE = {"name": "s", "steps": 1, "lr": 1e-3, "weight_decay": 0.1}
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
Make = Callable[..., PreTrainedModel]
aten = torch.ops.aten
CONFIG = {"model_type": "qwen2", "vocab_size": 512, "hidden_size": 32, "intermediate_size": 48} | {
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def roofline() -> ModuleType:
    """The script, which finds its neighbours as it does when it is run."""
    sys.path.insert(0, str(BENCHMARKS))
    import roofline

    return roofline


@pytest.fixture
def step_trace(roofline: ModuleType) -> ModuleType:
    return sys.modules["step_trace"]


def _batches(prepared: TrainingSet, stage: Stage, *, packed: bool = False) -> list[Batch]:
    num = stage.batch_size
    return step_batches(stage, prepared.examples.first(num), 1, ExampleOrder(0, 0, num, num, num), 0, packed=packed)


def _step(model: PreTrainedModel, batches: list[Batch], stage: Stage) -> None:
    for batch in batches:
        costs = token_costs(model, batch, only_weighted=stage.token_loss == "nll")
        batch_loss(costs, batch, stage).backward()  # type: ignore[no-untyped-call]


class _Launching(TorchDispatchMode):
    """Names operations by the storages alone: one that gives memory it was not given, or that says it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        new = {t.untyped_storage().data_ptr() for t in _tensors(result)} - given
        if (func._schema.is_mutable or new - {0}) and not func.__name__.startswith(("empty", "new_empty")):
            self.names.append(str(func._overloadpacket).removeprefix("aten."))
        return result


def _added(_into: Any, left: Any, right: Any, **_: Any) -> int:
    """A product added in place, of which torch has no formula; arguments are shapes."""
    return int(2 * left[0] * left[1] * right[1])


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("loss_on", ["completion", "answer"])
def test_a_step_has_the_flops_that_torch_counts_and_a_launch_for_all_that_makes_or_writes(
    loss_on: str, tiny_model: Make, prepared: TrainingSet, step_trace: ModuleType
) -> None:
    stage = Stage.model_validate(STAGE | {"loss_on": loss_on, "batch_size": 3})
    model, batches = tiny_model("qwen2", num_hidden_layers=1), _batches(prepared, stage)
    model.set_attn_implementation("eager")  # torch counts no fused attention of a CPU
    _step(model, batches, stage)  # the first asks the model whether its logits are plain
    model.zero_grad()
    with FlopCounterMode(display=False, custom_mapping={aten.addmm_: _added}) as torch_counts:
        _step(model, batches, stage)
    model.zero_grad()
    with step_trace.StepTrace(512) as trace, _Launching() as launching:  # apart: torch's counter takes operations apart
        _step(model, batches, stage)
    assert sum(kernel.flops for kernel in trace.kernels) == torch_counts.get_total_flops() > 0
    assert [kernel.name for kernel in trace.kernels] == launching.names


@pytest.mark.slow
def test_a_step_on_shapes_has_the_operations_of_a_real_one(
    tiny_model: Make, prepared: TrainingSet, roofline: ModuleType, step_trace: ModuleType
) -> None:
    """With their FLOPs and bytes; four layers really computed, against what one and two of them come to on shapes."""
    stage = Stage.model_validate(STAGE | {"loss_on": "answer", "batch_size": 4, "micro_batch_size": 2})
    model, batches = tiny_model("qwen2", num_hidden_layers=4), _batches(prepared, stage)
    way, tally = roofline.Way("answer", micro_batch_size=2), LossTally(torch.device("cpu"))
    optimizer, found = build_optimizer(model, stage), list[Any]()
    for _ in range(2):
        with step_trace.StepTrace(512) as trace:
            for batch in batches:
                share, costs = roofline.loss_of(model, batch, stage, way)
                share.backward()
                tally.add(batch, costs, share)
            trace.in_optimizer = True
            unread = UnreadSteps("s", model.device)
            unread.add(1, LossTally(model.device), clip_gradients(model, 1.0))
            step_if(unread.all_finite, optimizer)
            optimizer.zero_grad()
        found = trace.kernels
    expected = roofline.kernels_of(CONFIG, stage, batches, way)
    # The numbers that transformers reads to see whether a row is packed; on shapes it is told.
    looked = Counter({"eq": len(batches), "all": len(batches)})
    real = Counter(found)
    assert Counter(kernel.name for kernel in (real - expected).elements()) == looked
    assert expected - real == Counter()


@pytest.mark.slow
@pytest.mark.parametrize("loss_on", ["completion", "answer"])
def test_the_flops_of_a_step_are_those_of_our_own_count_but_for_scores_computed_again(
    loss_on: str, prepared: TrainingSet, roofline: ModuleType
) -> None:
    """Fused attention keeps no scores, so its backward pass has five products where the count of the model has four."""
    stage = Stage.model_validate(STAGE | {"loss_on": loss_on, "batch_size": 1})
    batches = _batches(prepared, stage)
    kernels = roofline.kernels_of(CONFIG, stage, batches, roofline.Way(loss_on))
    with FakeTensorMode() as mode:
        count = flop_count(roofline.skeleton(AutoConfig.for_model(**CONFIG), mode))
    width = batches[0].input_ids.shape[1]
    again = count.learning.pairs // 6 * (width * (width + 1) // 2)  # one product of the six
    assert sum(kernel.flops * num for kernel, num in kernels.items()) == count.of(batches) + again


def test_a_product_moves_its_matrices_once(step_trace: ModuleType) -> None:
    a, b = torch.zeros(3, 5, dtype=torch.bfloat16), torch.zeros(5, 7, dtype=torch.bfloat16)
    with step_trace.StepTrace(512) as trace:
        (a @ b).t()
    (kernel,) = trace.kernels
    assert (kernel.name, kernel.flops) == ("mm", 2 * 3 * 5 * 7)
    assert (kernel.read, kernel.written) == (2 * (3 * 5 + 5 * 7), 2 * 3 * 7)


@pytest.mark.parametrize(
    ("call", "read", "written"),
    [
        (lambda x: x.add_(1), 400, 400),
        (lambda x: x.copy_(torch.ops.aten.alias(x[:1]).expand_as(x)), 40, 400),
        (lambda x: x.zero_(), 0, 400),
        (lambda x: torch.add(x, 1, out=torch.empty_like(x)), 400, 400),
        (lambda x: x.index_select(0, torch.tensor([1, 2])), 80 + 16, 80),
        (lambda x: functional.embedding(torch.tensor([1]), x), 40 + 8, 40),
        (lambda x: x.index_add_(0, torch.tensor([1]), torch.ones(1, 10)), 40 + 40 + 8, 40),
        (lambda x: x.bfloat16(), 400, 200),
    ],
    ids=["in-place", "broadcast", "zero", "out", "picked", "looked-up", "added", "cast"],
)
def test_an_operation_moves_what_it_reads_and_writes(
    call: Callable[..., Any], read: int, written: int, step_trace: ModuleType
) -> None:
    x = torch.zeros(10, 10)
    with step_trace.StepTrace(512) as trace:
        call(x)
    kernel = trace.kernels[-1]
    assert (kernel.read, kernel.written) == (read, written)


def test_the_optimizer_reads_gradients_and_writes_weights_and_two_moments(step_trace: ModuleType) -> None:
    weight = torch.nn.Parameter(torch.ones(10, 10))
    optimizer = torch.optim.AdamW([weight], fused=True)
    for _ in range(2):
        weight.grad = torch.ones(10, 10)
        with step_trace.StepTrace(512) as trace:
            optimizer.step()
    kernel = trace.kernels[-1]
    assert (kernel.name, kernel.read - 4, kernel.written) == (
        "_fused_adamw_",
        4 * 400,
        3 * 400,
    )  # and the step's number


def test_attention_in_segments_has_the_pairs_within_each(step_trace: ModuleType) -> None:
    states = torch.zeros(1, 2, 9, 4)

    def flops(lengths: list[int]) -> int:
        with step_trace.StepTrace(512) as trace:
            trace.lengths = lengths
            functional.scaled_dot_product_attention(states, states, states, is_causal=True)
        return int(trace.kernels[-1].flops)

    assert flops([]) == flops([9]) == 4 * 2 * 4 * 45
    assert flops([4, 5]) == 4 * 2 * 4 * (10 + 15)
