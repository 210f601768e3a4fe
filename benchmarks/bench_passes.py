"""What does computing less gain: seconds and peak memory of one forward and backward pass, each way in its own process.

    python benchmarks/bench_passes.py head --num 2000            the output layer with its loss, four ways
    python benchmarks/bench_passes.py context --cot 1000 2000    stage 2: the whole graph, and two with less
    python benchmarks/bench_passes.py packing --data PREPARED    a global batch padded, and packed

The model is Qwen2-shaped with random weights and a vocabulary of 151,665. Ways take turns, `--rounds` times; the
first pass of a process warms up. Memory is the peak resident set of the process above what it had before the passes.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

WAYS = {
    "head": ["plain", "sftkey", "torch-sum", "torch-none"],
    "context": ["whole-graph", "last-layer-pruned", "context-read"],
    "packing": ["padded", "packed"],
}
VOCABULARY = 151_665


def main() -> None:
    options = parse()
    if options.way:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for cot in options.cot if options.question == "context" else [0]:
            for way in WAYS[options.question]:
                name = f"{way} {cot}" if cot else way
                runs.setdefault(name, []).append(
                    run([*sys.argv[1:], "--way", way, *(["--cot", str(cot)] if cot else [])])
                )
                print(name, runs[name][-1], file=sys.stderr, flush=True)
    results = {
        name: {
            "seconds": round(statistics.median(r["seconds"] for r in several), 3),
            "spread": [round(min(r["seconds"] for r in several), 3), round(max(r["seconds"] for r in several), 3)],
            "peak_mib": round(max(r["peak_mib"] for r in several)),
        }
        for name, several in runs.items()
    }
    asked = {name: value for name, value in vars(options).items() if name not in ("data", "out", "way")}
    report = {"results": results, "options": asked, **facts()}
    print(json.dumps(report, indent=2))
    if options.out:
        with Path(options.out).open("a") as file:
            file.write(json.dumps(report) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=WAYS)
    parser.add_argument("--num", type=int, default=2000, help="head: tokens with loss")
    parser.add_argument("--cot", type=int, nargs="*", default=[1000, 2000, 4000, 8000], help="context: its tokens")
    parser.add_argument("--batch", type=int, default=1, help="context: examples")
    parser.add_argument("--data", help="packing: prepared directory")
    parser.add_argument("--examples", type=int, default=32, help="packing: examples of the global batch")
    parser.add_argument("--max-tokens", type=int, default=2048, help="packing: of a forward pass")
    parser.add_argument("--loss-on", default="completion", help="packing: completion or answer")
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="passes of one process after the first")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", help="JSON lines file to append to")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(arguments: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    once = {"head": head, "context": context, "packing": packing}[options.question](options)
    before, seconds = psutil.Process().memory_info().rss / 2**20, []
    for _ in range(options.repeats + 1):
        began = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds[1:]), "peak_mib": peak() - before}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def head(options: argparse.Namespace) -> Callable[[], None]:
    import torch
    from torch.nn import functional

    from sftkey_train.loss.output_layer import linear_nll

    hidden = torch.randn(options.num, options.hidden, requires_grad=True)
    weight = (torch.randn(VOCABULARY, options.hidden) * 0.02).requires_grad_()
    labels, weights = torch.randint(VOCABULARY, (options.num,)), torch.rand(options.num)

    def loss() -> torch.Tensor:
        match options.way:
            case "plain":
                nll = functional.cross_entropy(functional.linear(hidden, weight), labels, reduction="none")
            case "sftkey":
                nll = linear_nll(hidden, weight, None, labels, weights)
            case "torch-sum":  # cannot weigh tokens
                chunks = torch.nn.LinearCrossEntropyOptions()
                return functional.linear_cross_entropy(hidden, weight, labels, reduction="sum", options=chunks)
            case _:
                chunks = torch.nn.LinearCrossEntropyOptions()
                nll = functional.linear_cross_entropy(hidden, weight, labels, reduction="none", options=chunks)
        return (weights * nll).sum()

    def once() -> None:
        hidden.grad = weight.grad = None
        loss().backward()

    return once


def model(options: argparse.Namespace) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    heads = options.hidden // 64
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 38 // 7,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=2 if heads % 2 == 0 else 1,
        tie_word_embeddings=True,
    )
    return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def context(options: argparse.Namespace) -> Callable[[], None]:
    import torch

    from sftkey_train.batches.batch import Example, collate
    from sftkey_train.batches.region_weights import RegionBorders
    from sftkey_train.loss.token_loss import token_nll
    from sftkey_train.recipe import LOSS_ON_WEIGHTS

    lm, (cot,) = model(options), options.cot
    examples = []
    for _ in range(options.batch):
        ids = torch.randint(VOCABULARY, (cot + 112,))
        borders = RegionBorders(100, 100 + cot, 104 + cot, 106 + cot, 111 + cot, 112 + cot)
        examples.append(Example("x", ids, borders))
    batch = collate(examples, LOSS_ON_WEIGHTS["answer"])

    def once() -> None:
        lm.zero_grad()
        way = {
            "context_gradient": options.way != "context-read",
            "prune_last_layer": options.way == "last-layer-pruned",
        }
        token_nll(lm, batch, **way).sum().backward()

    return once


def packing(options: argparse.Namespace) -> Callable[[], None]:
    from sftkey_train.batches.packing import forward_passes
    from sftkey_train.batches.training_set import read_training_set
    from sftkey_train.loss.token_loss import token_nll
    from sftkey_train.recipe import Stage

    lm, examples = model(options), read_training_set(Path(options.data)).examples.first(options.examples)
    stage = Stage(name="s", loss_on=options.loss_on, steps=1, batch_size=1, lr=1, max_tokens=options.max_tokens)
    batches = forward_passes(examples, stage.region_weights, stage, 0, packed=options.way == "packed")

    def once() -> None:
        lm.zero_grad()
        for batch in batches:
            token_nll(lm, batch).sum().backward()

    return once


def facts() -> dict[str, Any]:
    import torch
    import transformers

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "commit": commit,
    }


if __name__ == "__main__":
    main()
