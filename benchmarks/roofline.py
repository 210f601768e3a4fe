"""What can be expected of a GPU: the least time of one training step, from its operations and a card's data sheet.

    python benchmarks/roofline.py --data PREPARED --out benchmarks/results/roofline.jsonl

Nothing is measured, and no GPU is needed. A step of this project's own code (batches of real lengths, loss, backward
pass, clipping, optimizer) runs on shapes alone; `step_trace.py` sees its operations, under autocast to bf16 as it is on
a CPU, which casts the same products. Against a card:

- an operation takes the longer of its FLOPs at the card's peak and its bytes at the card's bandwidth;
- the device takes the sum over the operations, the host `--launch-us` for each, and both work at once: the bound is
  the longer of the two. It is a lower bound for these operations as they are, one after the other, each with its data
  in the card's memory. Kernels reach neither peak, so a measured step is slower; `torch.compile` makes one kernel of
  many, and what still lies in a cache need not be read, so a step may also be faster than the bound.
- MFU at the bound is what `sftkey-train` prints (model FLOPs as in `measure/flops.py`), so the most it could print.

Peers run transformers' own loss on the same batches (`dense`: whole logits, whole rows) or this output layer at every
position of the same packed rows (`every position`: what Liger's fused loss computes, which leaves none out).
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from bench_passes import facts
from step_trace import GROUPS, Kernel, StepTrace
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils import _foreach_utils
from transformers import AutoConfig, masking_utils

from sftkey_train import loop
from sftkey_train.batches.batch import Batch, Example, ExampleOrder
from sftkey_train.batches.region_weights import RegionBorders
from sftkey_train.batches.training_set import read_training_set
from sftkey_train.loss import context_cache, output_layer
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.measure.flops import flop_count
from sftkey_train.measure.loss_tally import LossTally
from sftkey_train.measure.memory_estimate import skeleton
from sftkey_train.measure.unread_steps import UnreadSteps
from sftkey_train.model.optimizer import build_optimizer, clip_gradients, set_learning_rate, step_if
from sftkey_train.recipe import Stage

QWEN = {"vocab_size": 151_936, "tie_word_embeddings": True, "max_position_embeddings": 32_768, "model_type": "qwen2"}
# From the `config.json` of each on the hub.
MODELS: dict[str, dict[str, Any]] = {
    "Qwen2.5-0.5B": QWEN
    | {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}
    | {"num_attention_heads": 14, "num_key_value_heads": 2},
    "Qwen2.5-1.5B": QWEN
    | {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
    | {"num_attention_heads": 12, "num_key_value_heads": 2},
    "SmolLM2-135M": {"model_type": "llama", "vocab_size": 49_152, "tie_word_embeddings": True}
    | {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "max_position_embeddings": 8192}
    | {"num_attention_heads": 9, "num_key_value_heads": 3},
}


@dataclass(frozen=True, slots=True)
class Card:
    """Peaks of a GPU from its maker's data sheet, without sparsity."""

    half_flops: float  # FLOP/s in bf16
    single_flops: float  # in fp32, not in TF32
    bandwidth: float  # bytes/s
    source: str


CARDS = {
    "H100 SXM": Card(989e12, 67e12, 3.35e12, "NVIDIA H100 Tensor Core GPU, data sheet"),
    "A100 80GB SXM": Card(312e12, 19.5e12, 2.039e12, "NVIDIA A100 Tensor Core GPU, data sheet"),
    "L4": Card(121e12, 30.3e12, 0.3e12, "NVIDIA L4 Tensor Core GPU, data sheet"),
}
LOGIT_BYTES = 80 * 2**30 // output_layer.SHARE_OF_GPU  # as on a card of 80 GiB
LAUNCH_US = 5.0
"""What the host takes for one operation in eager mode: an assumption, not a measurement."""
EVERY = {"prompt": 1.0, "cot": 1.0, "tag": 1.0, "key": 1.0, "eos": 1.0}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a step: what has a loss, what shares a forward pass, and by which attention."""

    loss_on: str  # completion, answer, or every: all positions
    micro_batch_size: int = 0
    max_tokens: int = 0  # packed
    attention: str = "sdpa"  # or flash: packed rows through kernels for variable lengths
    context_gradient: bool = True
    cot: int = 0  # tokens of each CoT; 0: GSM8K's
    dense: bool = False  # transformers' own loss

    def stage(self, batch_size: int) -> Stage:
        """As in a recipe."""
        weighs = {"weights": EVERY} if self.loss_on == "every" else {"loss_on": self.loss_on}
        values = {"name": "s", "steps": 1, "batch_size": batch_size, "lr": 1e-5, "weight_decay": 0.1, **weighs}
        values |= {"micro_batch_size": self.micro_batch_size, "max_tokens": self.max_tokens}
        return Stage.model_validate(values | {"context_gradient": self.context_gradient})


COT = 4000
WAYS = {
    # As `train/recipes/gsm8k_qwen2.5-0.5b.toml` has them.
    "stage 1, 8 at a time": Way("completion", micro_batch_size=8),
    "stage 2, 8 at a time": Way("answer", micro_batch_size=8),
    "dense, 8 at a time": Way("every", micro_batch_size=8, dense=True),
    "stage 1, packed": Way("completion", max_tokens=8192, attention="flash"),
    "stage 2, packed": Way("answer", max_tokens=8192, attention="flash"),
    "stage 2, packed, sdpa": Way("answer", max_tokens=8192),
    "every position, packed": Way("every", max_tokens=8192, attention="flash"),
    "CoT of 4,000, whole graph": Way("answer", micro_batch_size=2, cot=COT),
    "CoT of 4,000, only read": Way("answer", micro_batch_size=2, cot=COT, context_gradient=False),
}
RATIOS = {
    "stage 2 over dense": ("dense, 8 at a time", "stage 2, 8 at a time"),
    "stage 2 over every position": ("every position, packed", "stage 2, packed"),
    "only read over whole graph": ("CoT of 4,000, whole graph", "CoT of 4,000, only read"),
}


def main() -> None:
    options = parse()
    examples = real_examples(options.data, options.batch_size)
    for name in options.models:
        lines = {}
        for way in options.ways:
            lines[way] = line_of(name, way, examples, options)
            show(lines[way])
        ratios = ratios_of(lines)
        print(json.dumps(ratios))
        if options.out:
            with Path(options.out).open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines.values())
                file.write(json.dumps({"model": name, "ratios": ratios, "launch_us": options.launch_us}) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="prepared folder, whose lengths are taken")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--batch-size", type=int, default=32, help="examples per optimizer step")
    parser.add_argument("--launch-us", type=float, default=LAUNCH_US, help="microseconds of the host per operation")
    parser.add_argument("--out", help="JSON lines file to append to")
    return parser.parse_args()


def real_examples(data: Path, batch_size: int) -> list[Example]:
    """Those of the first step of a run with seed 0."""
    examples = read_training_set(data).examples
    order = ExampleOrder(0, 0, len(examples), batch_size, batch_size)
    return [examples[i] for i in order.batch(1)]


def long_examples(cot: int, num: int) -> list[Example]:
    """With 100 tokens of prompt, so many of CoT, and 12 behind it, as `bench_passes.py` has them."""
    borders = RegionBorders(100, 100 + cot, 104 + cot, 106 + cot, 111 + cot, 112 + cot)
    return [Example(str(i), torch.zeros(cot + 112, dtype=torch.int64), borders) for i in range(num)]


def line_of(name: str, way: str, examples: Sequence[Example], options: argparse.Namespace) -> dict[str, Any]:
    chosen = WAYS[way]
    examples = long_examples(chosen.cot, 8) if chosen.cot else examples
    stage = chosen.stage(len(examples))
    order = ExampleOrder(0, 0, len(examples), len(examples), len(examples))
    batches = step_batches(stage, examples, 1, order, 0, packed=chosen.max_tokens > 0, whole=chosen.dense)
    kernels = kernels_of(MODELS[name], stage, batches, chosen)
    with FakeTensorMode() as mode:
        count = flop_count(skeleton(AutoConfig.for_model(**MODELS[name]), mode))
    model_flops = count.of(batches, context_gradient=stage.context_gradient)
    return {
        "model": name,
        "way": way,
        "tokens": sum(batch.num_tokens for batch in batches),
        "longest": max(len(example.input_ids) for example in examples),
        "passes": len(batches),
        "launches": kernels.total(),
        "model_tflop": round(model_flops / 1e12, 3),
        "tflop": round(sum(kernel.flops * num for kernel, num in kernels.items()) / 1e12, 3),
        "gbyte": round(sum(kernel.moved * num for kernel, num in kernels.items()) / 1e9, 2),
        "cards": {card: bound_of(kernels, model_flops, CARDS[card], options.launch_us) for card in CARDS},
        "most_moved": most_moved(kernels),
        "options": {**asdict(chosen), "batch_size": len(examples), "launch_us": options.launch_us},
        "peaks": {card: asdict(peaks) for card, peaks in CARDS.items()},
        "measured": False,
        **facts(),
    }


def kernels_of(config: dict[str, Any], stage: Stage, batches: Sequence[Batch], way: Way) -> Counter[Kernel]:
    """What one step runs, and how often; whatever one layer more adds, each of the others adds too.

    Raises:
        ValueError: A model of two layers does something less often than one of one layer.
    """
    one, two = (passes_of(config | {"num_hidden_layers": num}, stage, batches, way) for num in (1, 2))
    if fewer := one - two:
        raise ValueError(f"one layer more leaves out {next(iter(fewer))}")
    others = {kernel: num * (config["num_hidden_layers"] - 1) for kernel, num in (two - one).items()}
    return one + Counter(others) + optimizer_of(config, stage)


def passes_of(config: dict[str, Any], stage: Stage, batches: Sequence[Batch], way: Way) -> Counter[Kernel]:
    """Of the forward and backward passes of one step, as in `loop.train_stage` and of its functions."""
    trace = StepTrace(config["vocab_size"])
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, as_on_a_gpu(way):
        model = skeleton(AutoConfig.for_model(**config), mode)
        output_layer._plain[model] = True  # tried by numbers, of which there are none; both families' are
        tally = LossTally(model.device)
        with trace, nullcontext() if way.dense else loop.casts_kept(model):
            for batch in batches:
                trace.lengths = batch.lengths.tolist() if way.attention == "flash" else ()
                share, costs = loss_of(model, batch, stage, way)
                share.backward()
                if costs is not None:
                    tally.add(batch, costs, share)
    return Counter(trace.kernels)


def loss_of(model: Any, batch: Batch, stage: Stage, way: Way) -> tuple[torch.Tensor, torch.Tensor | None]:
    with torch.autocast(model.device.type, torch.bfloat16):
        if way.dense:
            labels = torch.zeros_like(batch.input_ids)  # which of them carry a loss changes nothing of what is computed
            return model(input_ids=batch.input_ids, labels=labels, use_cache=False).loss, None
        how = {"context_gradient": stage.context_gradient, "only_weighted": True, "logit_bytes": LOGIT_BYTES}
        costs = token_costs(model, batch, **how)
    return batch_loss(costs, batch, stage), costs


def optimizer_of(config: dict[str, Any], stage: Stage) -> Counter[Kernel]:
    """Of clipping and a step of the optimizer that is not its first, in which it makes its moments."""
    trace = StepTrace(config["vocab_size"])
    trace.in_optimizer = True
    with FakeTensorMode() as mode, as_on_a_gpu(WAYS["stage 1, packed"]):
        model = skeleton(AutoConfig.for_model(**config), mode)
        optimizer = build_optimizer(model, stage)
        for step in range(2):
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            with trace if step else nullcontext():
                unread = UnreadSteps(stage.name, model.device)
                unread.add(1, LossTally(model.device), clip_gradients(model, stage.max_grad_norm))
                set_learning_rate(optimizer, stage.lr)
                step_if(unread.all_finite, optimizer)
                optimizer.zero_grad(set_to_none=True)
    return Counter(trace.kernels)


@contextmanager
def as_on_a_gpu(way: Way) -> Iterator[None]:
    """While open, what looks at numbers is told what they say, and what looks for a CPU finds a GPU."""
    look, lay_out = masking_utils.find_packed_sequence_indices, context_cache.layout
    masked = way.max_tokens > 0 and way.attention == "sdpa"  # FlashAttention takes no mask

    def found(position_ids: torch.Tensor) -> torch.Tensor | None:
        indices = look(position_ids)
        return indices if masked else None

    def laid_out(batch: Batch) -> context_cache.Layout:
        with unset_fake_temporarily():
            return lay_out(batch)

    supported = [*_foreach_utils._foreach_supported_types, FakeTensor]  # all gradients at once
    with (
        mock.patch.object(masking_utils, "find_packed_sequence_indices", found),
        mock.patch.object(context_cache, "layout", laid_out),
        mock.patch.object(context_cache, "SHARE_HEADS", "UNREAD"),  # what is read has heads share under a mask
        mock.patch.object(context_cache, "CONTEXT_TOKENS", context_cache.CONTEXT_TOKENS_OF_GPU),
        mock.patch.object(_foreach_utils, "_foreach_supported_types", supported),
    ):
        yield


def bound_of(kernels: Counter[Kernel], model_flops: float, card: Card, launch_us: float) -> dict[str, Any]:
    """Milliseconds by what bounds an operation and by group; what dominates, and MFU at the bound."""
    by_bound, by_group = {"compute": 0.0, "memory": 0.0}, dict.fromkeys(GROUPS, 0.0)
    for kernel, num in kernels.items():
        compute = num * kernel.flops / (card.half_flops if kernel.is_half else card.single_flops)
        memory = num * kernel.moved / card.bandwidth
        by_bound["compute" if compute > memory else "memory"] += max(compute, memory) * 1e3
        by_group[kernel.group] += max(compute, memory) * 1e3
    device, host = sum(by_bound.values()), kernels.total() * launch_us / 1e3
    bound_ms = max(device, host)
    return {
        "bound_ms": round(bound_ms, 2),
        "device_ms": round(device, 2),
        "launches_ms": round(host, 2),
        "dominates": "launches" if host > device else max(by_bound, key=lambda name: by_bound[name]),
        "mfu": round(model_flops / (bound_ms / 1e3 * card.half_flops), 3),
        "mfu_without_launches": round(model_flops / (device / 1e3 * card.half_flops), 3),
        "by_bound_ms": {name: round(ms, 2) for name, ms in by_bound.items()},
        "by_group_ms": {name: round(ms, 2) for name, ms in by_group.items()},
    }


def most_moved(kernels: Counter[Kernel], most: int = 12) -> list[dict[str, Any]]:
    """The operations that move most bytes, by name and group."""
    moved, launches = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for kernel, num in kernels.items():
        moved[kernel.name, kernel.group] += num * kernel.moved
        launches[kernel.name, kernel.group] += num
    return [
        {"name": key[0], "group": key[1], "gbyte": round(num / 1e9, 2), "launches": launches[key]}
        for key, num in moved.most_common(most)
    ]


def ratios_of(lines: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """How many times as fast at the bound, by card: with launches, and what the device alone would come to."""
    found = {}
    for name, (slow, fast) in RATIOS.items():
        if slow in lines and fast in lines:
            cards = [(card, lines[slow]["cards"][card], lines[fast]["cards"][card]) for card in CARDS]
            found[name] = {
                card: {kind: round(a[f"{kind}_ms"] / b[f"{kind}_ms"], 2) for kind in ("bound", "device")}
                for card, a, b in cards
            }
    return found


def show(line: dict[str, Any]) -> None:
    head = f"{line['model']}  {line['way']}  {line['tokens']:,} tokens  {line['tflop']:.2f} TFLOP"
    print(f"{head}  {line['gbyte']:.0f} GB  {line['launches']:,} launches")
    print("  most bytes:", ", ".join(f"{op['name']} ({op['group']}) {op['gbyte']} GB" for op in line["most_moved"]))
    for card, at in line["cards"].items():
        groups = "  ".join(f"{name} {ms:.1f}" for name, ms in at["by_group_ms"].items())
        found = f"{at['bound_ms']:8.1f} ms  MFU {at['mfu']:.0%}  by {at['dominates']}"
        print(f"  {card:14} {found}  |  {groups}", flush=True)


if __name__ == "__main__":
    main()
