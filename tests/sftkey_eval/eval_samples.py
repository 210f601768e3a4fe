"""Small real parts for the evaluation's tests: a tokenizer, a random model, prepared data, scored runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typer.testing import Result

    from sftkey_eval.records.outcome_columns import RunOutcomes
    from sftkey_eval.records.verdicts import Verdict

END, TURN = "<|end|>", "<|im_end|>"
TEXTS = ["What is 12 + 30?\n<Thinking>\n12 + 30 = 42\n</Thinking>\n<Answer>\n42\n</Answer>"] * 4


def write_tokenizer(folder: Path, *, bos: bool = False, splits_words: bool = True) -> None:
    """A byte-level BPE tokenizer; without `splits_words` its tokens cross line ends."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splits_words)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [END, TURN, *(["<s>"] if bos else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    names = {"eos_token": END, "additional_special_tokens": [TURN]}
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
        names["bos_token"] = "<s>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(str(folder))


def write_model(folder: Path, *, seed: int = 0) -> None:
    """A random two-layer Llama for the tokenizer in `folder`, which now and then says EOS or another special token."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # raise the odds of the two special tokens
        model.lm_head.weight[tokenizer.eos_token_id] *= 1.6
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(TURN)] *= 2.0
    model.save_pretrained(str(folder))


def write_data(folder: Path, tokenizer: Path | None, *, num: int = 24) -> Path:
    """Prepared arithmetic."""
    from sftkey_data.building.build import build
    from sftkey_data.building.build_config import BuildConfig

    name = str(tokenizer) if tokenizer else None
    build(BuildConfig(source="arithmetic", split="test", tokenizer=name, options={"num": num}), folder)
    return folder


def completion(cot: str, key: str) -> str:
    """A well-formed completion of the default template."""
    return f"<Thinking>\n{cot}\n</Thinking>\n<Answer>\n{key}\n</Answer>"


def write_run(folder: Path, rows: Sequence[Mapping[str, Any]], *, template: str = "sftkey", name: str = "") -> Path:
    """A scored run: rows become completions, scored by the real scorer; a row needs only `completion`."""
    from dataclasses import asdict

    from sftkey_data.format.template import BUILTIN
    from sftkey_eval.scoring.score import score_file
    from sftkey_eval.scoring.score_options import ScoreOptions

    folder.mkdir(parents=True)
    defaults = {"prompt": "What is 20 + 22?\n", "gold": "42", "answer_type": "number", "dataset": "sums"}
    lines = [json.dumps({"id": f"sums/test/{i}"} | defaults | dict(row)) for i, row in enumerate(rows)]
    (folder / "completions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if name:
        record = {"name": name, "model": {"path": "m", "seed": 7}, "template": asdict(BUILTIN[template])}
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    score_file(folder / "completions.jsonl", folder / "verdicts.parquet", ScoreOptions(template=template))
    return folder


def sampled(folder: Path, items: Sequence[Sequence[str]]) -> str:
    """A scored run of several samples per item, as `report` and `compare` take it."""
    rows = [
        {"id": f"q{i}#{k}", "item_id": f"q{i}", "sample": k, "completion": text}
        for i, samples in enumerate(items)
        for k, text in enumerate(samples)
    ]
    return str(write_run(folder, rows))


def outcomes_of(verdicts: Sequence["Verdict"]) -> "RunOutcomes":
    """Verdicts as a report holds those of a run."""
    from dataclasses import asdict

    import pyarrow as pa

    from sftkey_eval.records.outcome_columns import RunOutcomes, outcome_columns
    from sftkey_eval.records.verdicts import verdict_schema

    batch = pa.RecordBatch.from_pylist([asdict(verdict) for verdict in verdicts], schema=verdict_schema())
    return RunOutcomes([outcome_columns(batch)])


def call(*arguments: object) -> "Result":
    """What the program answers."""
    from typer.testing import CliRunner

    from sftkey_eval.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


RIGHT = completion("20 + 22 = 42", "42")
SLIP = completion("20 + 22 = 42", "41")
WRONG = completion("20 + 22 = 43", "43")
LUCKY = completion("20 + 22 = 43", "42")
AFTER = f"{RIGHT}\nDone."
CUT = "<Thinking>\n20 + 22 ="
EMPTY = ""


def teach(folder: Path, prompts: Sequence[str], completions: Sequence[str]) -> None:
    """Train the model in `folder` until it answers each prompt with its completion and EOS."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = LlamaForCausalLM.from_pretrained(str(folder))
    texts = [f"{prompt}{text}{END}" for prompt, text in zip(prompts, completions, strict=True)]
    rows = [torch.tensor(tokenizer(text)["input_ids"]) for text in texts]
    labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    ids = labels.clamp(min=0)  # padding stands behind the text, where nothing attends to it
    for row, prompt in zip(labels, prompts, strict=True):
        row[: len(tokenizer(prompt)["input_ids"])] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(200):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.005:
            break
    model.save_pretrained(str(folder))
