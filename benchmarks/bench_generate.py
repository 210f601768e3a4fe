"""How fast are completions written, against `model.generate` of transformers on the same batches, as a ratio.

    python benchmarks/bench_generate.py --data PREPARED --model DIR --out benchmarks/results/generate.json

Both write greedily for the first `--num` prompts of a prepared set, in one process and in turns, so that a noisy minute
meets both; each repeat gives one ratio by the clock, and one by the time of the CPU, which others on it distort
less. Prompts are sorted by length for both, cut into the same batches and padded on the left. Tokens are those up to a
completion's end, the end included. `--end` names tokens that end a completion besides the model's own: a full stop
gives completions as different in length as sentences are, whatever the model was trained on. `equal` is how many of the
completions have the same ids: a batch of fewer rows may round otherwise. `rows_ratio` is what could be saved at most.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from bench_build import processor
from bench_passes import facts
from transformers import GenerationConfig

from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.generation.hf import RawHFLM, load_generator
from sftkey_eval.generation.prompt_items import end_tokens, load_prompt_items, prompt_ids
from sftkey_eval.generation.sample_requests import requests_for
from sftkey_eval.generation.sampling import Sampling


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    manifest, tokenizer = read_manifest(options.data), load_tokenizer(str(options.model))
    model = load_generator(str(options.model), device=options.device)
    items = load_prompt_items(options.data, manifest, limit=options.num)
    encoded = prompt_ids(items, tokenizer, manifest)
    ends = [*end_tokens(tokenizer, manifest), *(i for text in options.end for i in tokenizer.encode(text)[-1:])]
    requests = requests_for(items, 1, 0)
    results = {}
    for size in options.batch_sizes:
        ours = RawHFLM(model, tokenizer, encoded, size, ends)
        candidates = {
            "sftkey": lambda lm=ours: by_sftkey(lm, requests, options.max_new_tokens),
            "generate": lambda lm=ours: by_generate(lm, options.max_new_tokens),
        }
        rates: dict[str, list[float]] = {name: [] for name in candidates}
        cpu: dict[str, list[float]] = {name: [] for name in candidates}
        written: dict[str, list[tuple[int, ...]]] = {}
        for repeat in range(options.repeats + 1):  # the first is not counted
            for name, write in candidates.items():
                began, cpu_began = time.perf_counter(), time.process_time()
                written[name] = write()
                if repeat:
                    cpu[name].append(time.process_time() - cpu_began)
                    rates[name].append(sum(map(len, written[name])) / (time.perf_counter() - began))
        ratios = [mine / theirs for mine, theirs in zip(rates["sftkey"], rates["generate"], strict=True)]
        cpu_ratios = [theirs / mine for mine, theirs in zip(cpu["sftkey"], cpu["generate"], strict=True)]
        results[size] = {
            "tokens_per_second": {name: round(statistics.median(of), 1) for name, of in rates.items()},
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "cpu_ratio": round(statistics.median(cpu_ratios), 2),
            "cpu_spread": [round(min(cpu_ratios), 2), round(max(cpu_ratios), 2)],
            "rows_ratio": rows_ratio(written["sftkey"], size),
            "equal": sum(a == b for a, b in zip(written["sftkey"], written["generate"], strict=True)),
            "mean_length": round(statistics.mean(map(len, written["sftkey"])), 1),
            "longest": max(map(len, written["sftkey"])),
        }
        print(size, results[size], flush=True)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k != "out"}
    line = {"results": results, "options": settings, "processor": processor(), **facts()}
    if options.out:
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def by_sftkey(lm: RawHFLM, requests: list[Any], limit: int) -> list[tuple[int, ...]]:
    written = []
    for batch in lm.complete_all(requests, [r.id for r in requests], Sampling(max_new_tokens=limit)):
        written += [cut(ids, lm.eos_token_ids) for ids in lm.generated]
        assert len(batch) == len(lm.generated)
    return written


def by_generate(lm: RawHFLM, limit: int) -> list[tuple[int, ...]]:
    ordered = sorted(lm.prompt_ids, key=lm.batch_order)
    config = GenerationConfig(
        eos_token_id=lm.eos_token_ids, pad_token_id=lm.tokenizer.pad_token_id, max_new_tokens=limit, do_sample=False
    )
    written = []
    for start in range(0, len(ordered), lm.batch_size):
        ids, mask = lm.tok_batch_encode(ordered[start : start + lm.batch_size])
        output = lm.model.generate(ids.to(lm.device), attention_mask=mask.to(lm.device), generation_config=config)
        written += [cut(row, lm.eos_token_ids) for row in output[:, ids.shape[1] :].tolist()]
    return written


def rows_ratio(written: list[tuple[int, ...]], size: int) -> float:
    """How many rows go through the model with all kept to the end of their batch, for each one that has not ended."""
    batches = [written[start : start + size] for start in range(0, len(written), size)]
    return round(sum(len(b) * max(map(len, b)) for b in batches) / sum(map(len, written)), 2)


def cut(ids: list[int], ends: list[int]) -> tuple[int, ...]:
    return tuple(ids[: next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with the model's tokens")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--num", type=int, default=128, help="prompts")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--end", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
