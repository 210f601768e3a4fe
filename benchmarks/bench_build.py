"""How fast is a build, against what people use otherwise: rows per second and peak memory, as ratios.

    python benchmarks/bench_build.py --input train.jsonl --tokenizer DIR --copies 10 --out benchmarks/results/build.json
    python benchmarks/bench_build.py --input train.jsonl --tokenizer DIR --rows 10000 100000 1000000 10000000 \\
        --only sftkey "sftkey text" --repeats 3 --scratch /fast --out benchmarks/results/DATE-rows.jsonl

Every candidate is a process of its own on the same rows and cores, timed from its start to its end; GSM8K's columns are
expected. The candidates take turns, so that a noisy minute meets all of them; `datasets.map` and `trl` run once. `trl`
prepares only the first `--trl-rows` (it takes minutes), so its rate leaves its start-up out. Memory is the largest sum
over the process and its workers (PSS: a page that several share counts once), sampled five times a second in a run of
its own, as sampling takes time.
With `--rows` all of it is done for each number of rows, one line of results each; the input is a file of so many rows
in `--scratch`, half a kB a row, and the output, 1.3 kB a row with ids, lies there too. `scaling_page.py` reads them.
Candidates: `sftkey` (this project, --workers 1 and all cores; `sftkey text` without a tokenizer), `encode_batch` (raw
`tokenizers`, texts already rendered, nothing written), `datasets.map` (the same tokenizer, batched), `trl`
(SFTTrainer's own preparation).
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

ONCE = ("datasets.map", "trl")
SAMPLE_SECONDS = 0.2
SHARED = """
import json, sys, time
from itertools import islice
def texts(path, limit=None):
    for line in islice(open(path), limit):
        row = json.loads(line)
        cot, _, key = row["answer"].rpartition("####")
        completion = f"<Thinking>\\n{cot.strip()}\\n</Thinking>\\n<Answer>\\n{key.strip()}\\n</Answer>"
        yield row["question"].strip() + "\\n", completion
path, tokenizer, limit, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
"""
PEERS = {
    "encode_batch": """
from tokenizers import Tokenizer
encoder, rows, batch = Tokenizer.from_file(tokenizer + "/tokenizer.json"), texts(path), []
while batch := ["".join(pair) for pair in islice(rows, 10_000)]:
    ids = [encoding.ids for encoding in encoder.encode_batch(batch)]
""",
    "datasets.map": """
import os
from datasets import Dataset
from transformers import AutoTokenizer
encoder = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
data = Dataset.from_list([{"text": "".join(pair)} for pair in texts(path)])
data.map(lambda batch: encoder(batch["text"]), batched=True, num_proc=os.cpu_count())
""",
    "trl": """
import os, torch
from datasets import Dataset
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig, SFTTrainer
encoder = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
encoder.pad_token = encoder.pad_token or encoder.eos_token
shape = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(encoder), **shape))
data = Dataset.from_list([{"prompt": prompt, "completion": completion} for prompt, completion in texts(path, limit)])
settings = SFTConfig(output_dir=out, max_length=None, report_to=[], use_cpu=True, dataset_num_proc=os.cpu_count())
began = time.perf_counter()
SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=encoder)
print("SECONDS", time.perf_counter() - began)
""",
}


def main() -> None:
    options = parse()
    given = Path(options.input).read_bytes().count(b"\n")
    for wanted in options.rows or [options.copies * given]:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            repeated(Path(options.input), wanted, Path(scratch) / "rows.jsonl")
            report = {"results": measured(wanted, Path(scratch), options), **facts(options, wanted)}
        print(json.dumps(report, indent=2), flush=True)
        if options.out:
            with Path(options.out).open("a") as file:
                file.write(json.dumps(report) + "\n")


def measured(rows: int, scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The summary of each candidate, and how many times as fast as its peers ours are."""
    names = options.only or ["encode_batch", "sftkey", "sftkey one worker", "datasets.map", "trl"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peaks: dict[str, int] = {}
    for repeat in range(options.repeats + 1):  # the last one for the memory
        for name in names:
            if repeat in (0, options.repeats) or name not in ONCE:
                shutil.rmtree(scratch / "out", ignore_errors=True)
                taken, peaks[name] = run(command(name, scratch, options), sample=repeat == options.repeats)
                seconds[name] += [taken] if repeat < options.repeats else []
                print(name, round(taken, 2), peaks[name], flush=True)
    counted = {name: options.trl_rows if name == "trl" else rows for name in names}
    results = {name: summary(seconds[name], peaks[name], counted[name]) for name in names}
    for name, result in results.items():
        for peer in ("encode_batch", "datasets.map", "trl", "sftkey one worker"):
            if peer in results and name.startswith("sftkey") and peer != name:
                result[f"times {peer}"] = round(result["rows_per_second"] / results[peer]["rows_per_second"], 2)
    return results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--tokenizer", required=True, help="folder with tokenizer.json")
    parser.add_argument("--copies", type=int, default=10, help="how often the file is repeated")
    parser.add_argument("--rows", type=int, nargs="+", help="how many rows, instead of --copies")
    parser.add_argument("--scratch", help="folder for the input and what is built, 2 kB a row")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trl-rows", type=int, default=7_473)
    parser.add_argument("--only", nargs="*", help="candidates; all when absent")
    parser.add_argument("--out", help="JSON lines file to append to")
    return parser.parse_args()


def repeated(source: Path, rows: int, target: Path) -> None:
    """Write the file's rows again and again until there are so many."""
    content = source.read_bytes()
    copies, rest = divmod(rows, content.count(b"\n"))
    with target.open("wb") as file:
        for _ in range(copies):
            file.write(content)
        file.writelines(content.splitlines(keepends=True)[:rest])


def summary(seconds: list[float], peak: int, rows: int) -> dict[str, Any]:
    middle = statistics.median(seconds)
    return {
        "rows_per_second": round(rows / middle),
        "seconds": round(middle, 2),
        "spread": [round(min(seconds), 2), round(max(seconds), 2)],
        "peak_mib": round(peak / 2**20),
        "repeats": len(seconds),
    }


def command(name: str, scratch: Path, options: argparse.Namespace) -> list[str]:
    rows, out = str(scratch / "rows.jsonl"), str(scratch / "out")
    if name in PEERS:
        return [sys.executable, "-c", SHARED + PEERS[name], rows, options.tokenizer, str(options.trl_rows), out]
    workers = 1 if name.endswith("one worker") else os.cpu_count() or 1
    build = [sys.executable, "-m", "sftkey_data.cli", "build", "gsm8k", "--input", rows, "--out", out]
    build += [] if name.endswith("text") else ["--tokenizer", options.tokenizer]
    return [*build, "--workers", str(workers)]


def run(command: list[str], *, sample: bool) -> tuple[float, int]:
    """Seconds (its own count where it prints one), and with `sample` the largest memory of it and its children."""
    printed, seconds, peak = watched(command, sample=sample)
    own = [line.split()[1] for line in printed if line.startswith("SECONDS")]
    return float(own[0]) if own else seconds, peak


def watched(command: list[str], *, sample: bool = True) -> tuple[list[str], float, int]:
    """The lines that a command prints, its seconds, and with `sample` its largest memory, its children's included."""
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = psutil.Popen(command, stdout=printed, stderr=said)
        peak = 0
        while sample and process.poll() is None:
            peak = max(peak, memory(process))
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(SAMPLE_SECONDS)
        process.wait()
        seconds = time.perf_counter() - began
        printed.seek(0)
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{command[:6]} failed:\n{said.read()[-2000:]}")
        return list(printed), seconds, peak


def memory(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


def facts(options: argparse.Namespace, rows: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ("sftkey", "tokenizers", "fastokens", "tiktoken", "datasets", "transformers", "trl", "pyarrow")
    return {
        "rows": rows,
        "tokenizer": Path(options.tokenizer).name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {d.name: d.version for d in distributions() if d.name in packages},
        "commit": commit,
        "processor": processor(),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
