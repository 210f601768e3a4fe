"""What the commands are given: a few rows, a model of thousands of parameters, and what commands made of them."""

import json
from collections.abc import Callable
from pathlib import Path

from forked_programs import Order, Programs

NUM_ROWS = 24
LOG = "samples_gsm8k_2026-11-25T07-46-11.494235.jsonl"
RECIPE = """name = "tiny"
seed = 3
data = "given/data"
heldout = "given/data-holdout"
out = "out"
threads = 1
{extra}
[model]
path = "given/model"
[[stage]]
name = "full"
loss_on = "completion"
steps = 6
batch_size = 4
lr = 5e-3
save_every = 2
best = "key_nll"
eval_every = 2
generate_at_end = false
[[stage]]
name = "answer"
loss_on = "answer"
steps = 4
batch_size = 4
lr = 5e-3
save_every = 2
eval_every = 0
generate_at_end = false
"""
LORA = """[lora]
r = 2
alpha = 4
"""
STUDY = """name = "tiny"
out = "out"
seeds = { claim = [0], tuning = [7] }
heldout_examples = 8
[model.config]
model_type = "llama"
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
max_position_embeddings = 256
[datasets.sums]
arithmetic = { kind = "sums", regime = "choice", max_steps = 2, num_choices = 3, distractor_gap = 4, max_value = 20 }
sizes = { train = 64, validation = 8, test = 12 }
[stage1]
steps = 6
batch_size = 8
lr = 5e-3
save_every = 2
[stage2]
steps = 4
[arms]
continued = {}
sftkey = { lr = 1e-3 }
[evaluation]
max_new_tokens = 6
"""


def make_given(programs: Programs, folder: Path) -> None:
    """Fill `folder`/given and, with other values of some inputs, `folder`/others; commands make what commands read."""
    room, given = folder, folder / "given"
    given.mkdir(parents=True)
    _lines(given / "rows.jsonl", NUM_ROWS, _row)
    _lines(given / "pairs.jsonl", 40, _pair)
    _lines(given / "theirs.jsonl", 40, _completion)
    _lines(given / "other.jsonl", 40, lambda index: _completion(index, wrong_every=3))
    _lines(given / LOG, 12, _logged)
    _write_tokenizer(given / "rows.jsonl", given / "tok")
    _write_model(given / "tok", given / "model")
    _write_model(given / "tok", folder / "others" / "model", seed=2)
    (given / "full.toml").write_text(RECIPE.format(extra=""))
    (given / "lora.toml").write_text(f"{RECIPE.format(extra='')}{LORA}")
    (given / "study.toml").write_text(STUDY)
    held_out = ("--holdout", "0.25", "--shard-rows", "8", "--workers", "1")
    data = ("gsm8k", "--input", "given/rows.jsonl", "--tokenizer", "given/tok", *held_out)
    asked = ("--model", "given/model", "--data", "given/data-holdout", "--max-new-tokens", "8", "--batch-size", "2")
    for program, *argv in (
        ("data", "build", *data, "--out", "given/data"),
        ("data", "build", *data, "--seed", "2", "--out", "others/data"),
        ("eval", "score", "given/theirs.jsonl", "--out", "given/theirs.parquet"),
        ("eval", "score", "given/other.jsonl", "--out", "given/other.parquet"),
        ("eval", "import", f"given/{LOG}", "--out", "given/imported.jsonl"),
        ("eval", "run", *asked, "--teacher-forced", "--name", "a", "--out", "given/run-a"),
        ("eval", "run", *asked, "--teacher-forced", "--name", "b", "--temperature", "0.7", "--out", "given/run-b"),
        ("train", "study", "given/study.toml"),
    ):
        end = programs.run(Order(program, argv, room))
        assert end.code == 0, (argv, end.said)
    (folder / "out").rename(given / "study")


def _lines(path: Path, num: int, line: Callable[[int], dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(line(index)) + "\n" for index in range(num)))


def _row(index: int) -> dict[str, object]:
    a, b, c = index % 7 + 2, index % 11 + 3, index % 5 + 1
    steps = f"There are {a} + {b} = {a + b} apples.\nOf these {c} go, {a + b} - {c} = {a + b - c} remain."
    answer = steps if index == NUM_ROWS - 1 else f"{steps}\n#### {a + b - c}"  # the last one is a reject
    return {"question": f"Row {index}: {a} apples and {b} more, {c} go?", "answer": answer}


def _pair(index: int) -> dict[str, object]:
    return {"gold": f"{index}", "predicted": f"{index + index % 2}.0", "answer_type": "number"}


def _completion(index: int, wrong_every: int = 4) -> dict[str, object]:
    said = 42 + (index % wrong_every == 0)
    text = f"<Thinking>\n20 + 22 = 42\n</Thinking>\n<Answer>\n{said}\n</Answer>"
    asked = {"prompt": f"{index}: What is 20 + 22?\n", "gold": "42", "answer_type": "number", "dataset": "sums"}
    return {"id": f"sums/test/{index}", "completion": text if index % 7 else text[:30], **asked}


def _logged(index: int) -> dict[str, object]:
    return {
        "doc_id": index,
        "doc": {"question": "What is 20 + 22?", "answer": "20 + 22 = <<20+22=42>>42\n#### 42"},
        "target": "20 + 22 = <<20+22=42>>42\n#### 42",
        "arguments": {"gen_args_0": {"arg_0": "Question: What is 20 + 22?\nAnswer:", "arg_1": {"until": ["\n\n"]}}},
        "resps": [[f"It is {40 + index % 3}.\n#### {40 + index % 3}"]],
        "filtered_resps": ["42"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    }


def _write_tokenizer(rows: Path, folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    texts = [value for line in rows.read_text().splitlines() for value in json.loads(line).values()]
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(str(folder))


def _write_model(tokenizer: Path, folder: Path, seed: int = 1) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoTokenizer.from_pretrained(str(tokenizer), trust_remote_code=False)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(loaded),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        eos_token_id=loaded.eos_token_id,
        bos_token_id=None,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    loaded.save_pretrained(str(folder))
