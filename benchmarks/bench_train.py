"""How fast are the two stages, against what people use otherwise: tokens per second and peak memory, as ratios.

    python benchmarks/bench_train.py --input train.jsonl --tokenizer DIR --out benchmarks/results/train.json

Every candidate trains the same Qwen2-shaped model (from one folder of random weights) on the same GSM8K rows in fp32,
with the same examples per step and per forward pass, AdamW, clipping at 1 and a constant learning rate, in a process of
its own with all cores. The candidates take turns, so that a noisy minute meets all of them. Tokens are those of whole
examples, padding aside, for all alike. A step is timed from the end of the one before, so that loading, collating and
logging count; the first `--warmup` steps do not. Memory is that of the process over its life (PSS, sampled five times
a second): libraries, weights, gradients and optimizer are in it. Stage 1 has the loss on the completion, stage 2 on the
answer; the peers get the labels by `sftkey-data export --to trl --loss-on completion|answer`.
Candidates: `sftkey` (this project); `trl` (SFTTrainer, batches of like lengths, no checkpointing), `trl padding-free`,
`trl checkpointing` (its default, for memory); `hf` (transformers' Trainer, batches of like lengths). TRL's packing cuts
other batches than `--batch-size` examples, so `padding-free`, which runs the same kernels, stands for it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from bench_build import processor, watched

STAGES = {"stage 1": "completion", "stage 2": "answer"}
CANDIDATES = ("sftkey", "trl", "trl padding-free", "trl checkpointing", "hf")
SHARED = """
import json, sys, time, os
import datasets, torch, transformers
options = json.loads(sys.argv[1])
datasets.disable_progress_bars()
stamps, tokens = [], []  # when each step ended; tokens of each forward pass
def report(loss):
    passes = options["batch_size"] // options["micro_batch_size"]
    by_step = [sum(tokens[i : i + passes]) for i in range(0, len(tokens), passes)]
    skip = options["warmup"]
    rate = sum(by_step[skip : len(stamps)]) / (stamps[-1] - stamps[skip - 1])
    print("RESULT", json.dumps({"rate": rate, "loss": loss, "threads": torch.get_num_threads()}))
"""
OURS = """
from pathlib import Path
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
append = MetricsLog.append
def timed(log, row):
    append(log, row)
    if row["kind"] == "train":
        stamps.append(time.perf_counter())
        tokens.extend([row["tokens"]] + [0] * (options["batch_size"] // options["micro_batch_size"] - 1))
        losses.append(row["loss"])
losses = []
MetricsLog.append = timed
list(run_recipe(load_recipe(Path(options["recipe"]), options["set"])))
report(sum(losses) / len(losses))
"""
PEER = """
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainingArguments
tokenizer = AutoTokenizer.from_pretrained(options["model"], trust_remote_code=False)
model = AutoModelForCausalLM.from_pretrained(options["model"], dtype=torch.float32, trust_remote_code=False)
data = datasets.load_from_disk(options["data"])["train"]
settings = dict(
    output_dir=options["run"], report_to=[], use_cpu=True, bf16=False, save_strategy="no", logging_steps=10_000,
    per_device_train_batch_size=options["micro_batch_size"], max_steps=options["steps"], disable_tqdm=True,
    gradient_accumulation_steps=options["batch_size"] // options["micro_batch_size"], learning_rate=1e-5,
    lr_scheduler_type="constant", max_grad_norm=1.0, train_sampling_strategy="group_by_length",
    optim="adamw_torch_fused", adam_beta2=0.95, gradient_checkpointing=False,
)
class Clock(TrainerCallback):
    def on_step_end(self, *_, **__):
        stamps.append(time.perf_counter())
def counted(collate):
    def call(examples):
        tokens.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)
    return call
def train(trainer):
    trainer.data_collator = counted(trainer.data_collator)
    trainer.add_callback(Clock())
    report(trainer.train().training_loss)
"""
TRL = """
from trl import SFTConfig, SFTTrainer
settings |= options["trl"]
train(SFTTrainer(model=model, args=SFTConfig(max_length=None, **settings), train_dataset=data,
                 processing_class=tokenizer))
"""
HF = """
from transformers import DataCollatorForSeq2Seq, Trainer
collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
train(Trainer(model=model, args=TrainingArguments(**settings), train_dataset=data, data_collator=collate))
"""
TRL_SETTINGS = {
    "trl": {},
    "trl padding-free": {"padding_free": True},
    "trl checkpointing": {"gradient_checkpointing": True},
}


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        lengths = prepare(options, scratch)
        runs: dict[str, dict[str, list[tuple[dict[str, Any], int]]]] = {
            stage: {name: [] for name in options.only} for stage in options.stages
        }
        for _ in range(options.repeats):
            for stage in options.stages:
                for name in options.only:
                    printed, peak = run_candidate(name, stage, scratch, options)
                    runs[stage][name].append((printed, peak))
                    print(stage, name, round(printed["rate"], 1), peak >> 20, printed["loss"], flush=True)
        report = {
            "results": {stage: compared({n: summary(r) for n, r in by.items()}) for stage, by in runs.items()},
            "flops": flops(scratch, lengths),
            **facts(options, lengths),
        }
    print(json.dumps(report, indent=2))
    if options.out:
        with Path(options.out).open("a") as file:
            file.write(json.dumps(report) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--tokenizer", required=True, help="folder with tokenizer.json; the model has its vocabulary")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16, help="examples per optimizer step")
    parser.add_argument("--micro-batch-size", type=int, help="examples per forward pass; the whole batch when absent")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not counted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=CANDIDATES, choices=CANDIDATES, help="candidates")
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--set", nargs="*", default=[], help="further settings of our recipe, as in sftkey-train run")
    parser.add_argument("--out", help="JSON lines file to append to")
    options = parser.parse_args()
    options.micro_batch_size = options.micro_batch_size or options.batch_size
    return options


def prepare(options: argparse.Namespace, scratch: Path) -> list[int]:
    """Shards, exports, a model of random weights and our recipes; the lengths of the examples."""
    from sftkey_data.building.build import build
    from sftkey_data.building.build_config import BuildConfig
    from sftkey_data.export.formats import export
    from sftkey_data.prepared.shards import open_shards

    limit = options.batch_size * options.steps
    data, tokenizer = scratch / "data", options.tokenizer
    build(BuildConfig(source="gsm8k", inputs=(options.input,), tokenizer=tokenizer, limit=limit), data)
    for stage, loss_on in STAGES.items():
        export(data, scratch / loss_on, to="trl", loss_on=loss_on)
        (scratch / f"{loss_on}.toml").write_text(recipe(stage, scratch, options))
    save_model(options, scratch / "model")
    return [len(ids) for ids in open_shards(data, ["input_ids"])["input_ids"]]


def save_model(options: argparse.Namespace, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer, trust_remote_code=False)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=max(1, options.heads // 2),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe(stage: str, scratch: Path, options: argparse.Namespace) -> str:
    return f"""
name = "bench"
data = "{scratch / "data"}"
out = "{scratch / "run"}"
device = "cpu"
model = {{ path = "{scratch / "model"}" }}
[[stage]]
name = "stage"
loss_on = "{STAGES[stage]}"
steps = {options.steps}
batch_size = {options.batch_size}
micro_batch_size = {options.micro_batch_size}
lr = 1e-5
schedule = "constant"
save_every = 0
eval_every = 0
"""


def run_candidate(name: str, stage: str, scratch: Path, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    subprocess.run(["rm", "-rf", str(scratch / "run")], check=True)
    values = {
        "batch_size": options.batch_size,
        "micro_batch_size": options.micro_batch_size,
        "steps": options.steps,
        "warmup": options.warmup,
        "model": str(scratch / "model"),
        "data": str(scratch / STAGES[stage]),
        "run": str(scratch / "run"),
        "recipe": str(scratch / f"{STAGES[stage]}.toml"),
        "set": options.set,
        "trl": TRL_SETTINGS.get(name, {}),
    }
    script = SHARED + (OURS if name == "sftkey" else PEER + (HF if name == "hf" else TRL))
    lines, _, peak = watched([sys.executable, "-c", script, json.dumps(values)])
    return json.loads(next(line for line in lines if line.startswith("RESULT")).removeprefix("RESULT")), peak


def summary(runs: list[tuple[dict[str, Any], int]]) -> dict[str, Any]:
    rates = [printed["rate"] for printed, _ in runs]
    return {
        "tokens_per_second": round(statistics.median(rates)),
        "spread": [round(min(rates)), round(max(rates))],
        "peak_mib": round(statistics.median(peak for _, peak in runs) / 2**20),
        "mean_loss": round(runs[0][0]["loss"], 4),
        "repeats": len(runs),
    }


def compared(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ours over each peer."""
    if (ours := results.get("sftkey")) is not None:
        for name, theirs in results.items():
            if name != "sftkey":
                ours[f"speed / {name}"] = round(ours["tokens_per_second"] / theirs["tokens_per_second"], 2)
                ours[f"memory / {name}"] = round(ours["peak_mib"] / theirs["peak_mib"], 2)
    return results


def flops(scratch: Path, lengths: list[int]) -> dict[str, Any]:
    """Cost per token where all positions go through the output layer, and where those with loss do."""
    import datasets
    import pyarrow.compute as pc
    import torch
    from transformers import AutoModelForCausalLM

    from sftkey_data.prepared.labels import IGNORED
    from sftkey_train.measure.flops import flop_count, step_work

    model = AutoModelForCausalLM.from_pretrained(scratch / "model", trust_remote_code=False)
    total = sum(lengths)
    counts = {"every position": total}
    for stage, loss_on in STAGES.items():
        labels = datasets.load_from_disk(str(scratch / loss_on))["train"].data["labels"]
        counts[stage] = pc.sum(pc.not_equal(pc.list_flatten(labels.combine_chunks()), IGNORED)).as_py()
    cost = flop_count(model).learning
    found = {name: step_work(torch.tensor(lengths), num).at(cost) for name, num in counts.items()}
    everywhere = found["every position"]
    return {
        name: {
            "positions_with_logits": round(counts[name] / total, 4),
            "mflop_per_token": round(flops / total / 1e6, 1),
            "share_of_every_position": round(flops / everywhere, 4),
            "most_speed_up": round(everywhere / flops, 2),
        }
        for name, flops in found.items()
    }


def facts(options: argparse.Namespace, lengths: list[int]) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ("sftkey", "torch", "transformers", "trl", "accelerate", "datasets")
    shown = {k: v for k, v in vars(options).items() if k not in ("input", "out")}
    return {
        "configuration": {**shown, "tokenizer": Path(options.tokenizer).name, "precision": "fp32"},
        "tokens_per_step": round(sum(lengths) / options.steps),
        "longest": max(lengths),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": sys.version.split()[0],
        "versions": {d.name: d.version for d in distributions() if d.name in packages},
        "commit": commit,
        "processor": processor(),
    }


if __name__ == "__main__":
    main()
