"""Generation: raw completions that depend on model, data and sampling, and on nothing else."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from eval_samples import END, TURN, write_data, write_model, write_tokenizer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.hf import text_after
from sftkey_eval.generation.prompt_items import encode_prompts, load_prompt_items
from sftkey_eval.records.journal import Journal
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]
NEW_TOKENS = 24


def options(model: Path, data: Path, **changes: Any) -> GenerateOptions:
    values = {"batch_size": 4, "max_new_tokens": NEW_TOKENS, "device": "cpu"} | changes
    return GenerateOptions(model=str(model), data=data, **values)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def completed(tiny_model: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Greedy completions, generated without interruption in batches of 4."""
    out = tmp_path_factory.mktemp("completed") / "completions.jsonl"
    generate(options(tiny_model, prepared), out)
    return out


def greedy_by_transformers(model_folder: Path, prompt: str) -> tuple[str, str]:
    """One prompt alone through plain transformers: the text before EOS, and the finish reason."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(str(model_folder))
    model = AutoModelForCausalLM.from_pretrained(str(model_folder), dtype=torch.float32)
    ids = torch.tensor([tokenizer.encode(prompt)])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    new = output[0, ids.shape[1] :].tolist()
    stopped = tokenizer.eos_token_id in new
    return tokenizer.decode([t for t in new if t != tokenizer.eos_token_id]), "stop" if stopped else "length"


def test_completions_are_what_transformers_generates_for_each_prompt_alone(completed: Path, tiny_model: Path) -> None:
    rows = read(completed)
    expected = [greedy_by_transformers(tiny_model, row["prompt"]) for row in rows[:8]]
    assert [(row["completion"], row["finish_reason"]) for row in rows[:8]] == expected


def test_both_finish_reasons_occur_and_eos_is_never_in_the_text(completed: Path) -> None:
    rows = read(completed)
    assert {row["finish_reason"] for row in rows} == {"stop", "length"}
    assert not any(END in row["completion"] for row in rows)


def test_special_tokens_inside_a_completion_stay_visible(completed: Path) -> None:
    assert any(TURN in row["completion"][:-1] for row in read(completed))


def test_rows_are_in_data_order_with_everything_the_scorer_needs(completed: Path, prepared: Path) -> None:
    rows = read(completed)
    assert [row["id"] for row in rows] == [f"arithmetic/test/{i}" for i in range(24)]
    assert set(rows[0]) == {
        *("id", "dataset", "split", "prompt", "completion", "gold", "answer_type", "choices"),
        *("gold_cot", "finish_reason", "item_id", "sample"),
    }
    record = json.loads((completed.parent / "run.json").read_text())
    assert record["template"]["name"] == read_manifest(prepared).template.name


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_greedy_completions_do_not_depend_on_the_batch_size(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path, batch_size: int
) -> None:
    generate(options(tiny_model, prepared, batch_size=batch_size), tmp_path / "completions.jsonl")
    assert (tmp_path / "completions.jsonl").read_bytes() == completed.read_bytes()


def test_a_hidden_generation_config_of_the_model_does_not_shape_the_text(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((model / "generation_config.json").read_text())
    changed = config | {"repetition_penalty": 5.0, "do_sample": True, "temperature": 9.0, "top_k": 3}
    (model / "generation_config.json").write_text(json.dumps(changed))
    generate(options(model, prepared), tmp_path / "completions.jsonl")
    assert (tmp_path / "completions.jsonl").read_bytes() == completed.read_bytes()


def test_every_end_token_of_the_generation_config_ends_a_completion(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    turn = load_tokenizer(str(model)).convert_tokens_to_ids(TURN)
    config = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [0, turn]}))
    generate(options(model, prepared), tmp_path / "completions.jsonl")
    assert not any(TURN in row["completion"] for row in read(tmp_path / "completions.jsonl"))


def interrupt(completed: Path, folder: Path, num_lines: int, tail: bytes) -> Path:
    """What a killed run leaves: some lines in the order of generation, and half a line."""
    lines = completed.read_bytes().splitlines(keepends=True)
    (folder / "completions.jsonl.partial").write_bytes(b"".join(reversed(lines[-num_lines:])) + tail)
    shutil.copy(completed.parent / "run.json", folder / "run.json")
    return folder / "completions.jsonl"


@pytest.mark.parametrize("tail", [b"", b'{"id": "arithmetic/test/0", "comple', b'{"id'], ids=["clean", "half", "start"])
def test_an_interrupted_generation_resumes_to_the_same_bytes(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path, tail: bytes
) -> None:
    out = interrupt(completed, tmp_path, 9, tail)
    result = generate(options(tiny_model, prepared), out)
    assert result.num_new == 24 - 9
    assert out.read_bytes() == completed.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["completions.jsonl", "run.json"]


def test_a_killed_program_resumes_to_the_same_bytes(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "completions.jsonl"
    command = [sys.executable, "-m", "sftkey_eval.cli", "generate", "--model", str(tiny_model), "--data", str(prepared)]
    command += ["--out", str(out), "--batch-size", "1", "--max-new-tokens", str(NEW_TOKENS), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    partial, deadline = tmp_path / "completions.jsonl.partial", time.monotonic() + 60
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.002)
    program.send_signal(signal.SIGKILL)
    _, chatter = program.communicate()
    assert partial.exists()
    assert 0 < generate(options(tiny_model, prepared), out).num_new <= 24 - 3
    assert out.read_bytes() == completed.read_bytes()
    assert "arning" not in chatter


def test_a_run_killed_twice_still_resumes(completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    out = interrupt(completed, tmp_path, 9, b'{"id": "arithmetic/test/0", "comple')
    rows = read(completed)
    with Journal(out, [row["id"] for row in rows]) as journal:
        journal.append(rows[:3])
    with out.with_name("completions.jsonl.partial").open("ab") as partial:
        partial.write(b'{"id": "ari')
    assert generate(options(tiny_model, prepared), out).num_new == 24 - 9 - 3
    assert out.read_bytes() == completed.read_bytes()


def test_a_completion_keeps_the_space_it_begins_with(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Metaspace()
    )  # as SentencePiece: "▁42" is a token, and decodes to "42" alone
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(["What is 42 ?"] * 4, trainers.BpeTrainer(vocab_size=60, show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    prompt, answer = fast.encode("What is"), fast.encode("42")
    assert fast.decode(answer) == "42"
    assert text_after(fast, prompt, answer) == " 42"


def test_a_finished_run_is_left_alone(completed: Path, tiny_model: Path, prepared: Path) -> None:
    before = completed.stat().st_mtime_ns
    assert generate(options(tiny_model, prepared), completed).num_new == 0
    assert completed.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_new_tokens": 9}, "max_new_tokens is 24, expected 9"),
        ({"temperature": 0.5}, "temperature is 0.0, expected 0.5"),
        ({"limit": 5}, "limit is None, expected 5"),
        ({"model": "other"}, "model is "),
        ({"data": "other"}, "data is "),
    ],
    ids=["max_new_tokens", "temperature", "limit", "model", "data"],
)
def test_completions_of_another_run_are_refused_unless_overwritten(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    out = interrupt(completed, tmp_path, 4, b"")
    model, data = tiny_model, prepared
    if change.get("model"):
        model = tmp_path / "model"
        write_tokenizer(model)
        write_model(model, seed=1)
    if change.get("data"):
        data = write_data(tmp_path / "data", tiny_model, num=20)
    changed = options(model, data, **{k: v for k, v in change.items() if k not in ("model", "data")})
    before = (tmp_path / "completions.jsonl.partial").read_bytes()
    with pytest.raises(SFTKeyError, match=named):
        generate(changed, out)
    assert (tmp_path / "completions.jsonl.partial").read_bytes() == before
    result = generate(GenerateOptions(**(vars(changed) | {"overwrite": True})), out)
    assert result.num_new == result.num_items


def test_the_record_of_completions_that_are_there_is_not_taken_by_others(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    for name in ("completions.jsonl", "run.json"):
        shutil.copy(completed.parent / name, tmp_path / name)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(SFTKeyError, match=r"is the record of .*completions\.jsonl; write to another folder"):
        generate(options(tiny_model, prepared, limit=2, overwrite=True), tmp_path / "others.jsonl")
    assert (tmp_path / "run.json").read_bytes() == before
    assert not (tmp_path / "others.jsonl").exists()
    (tmp_path / "completions.jsonl").unlink()
    generate(options(tiny_model, prepared, limit=2, overwrite=True), tmp_path / "others.jsonl")
    assert json.loads((tmp_path / "run.json").read_text())["completions"] == "others.jsonl"


def test_a_limit_takes_the_first_rows(completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    generate(options(tiny_model, prepared, limit=5, split="test"), tmp_path / "completions.jsonl")
    assert read(tmp_path / "completions.jsonl") == read(completed)[:5]


def test_a_bos_tokenizer_gives_exactly_the_ids_of_the_shards(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", bos=True)
    data = write_data(tmp_path / "data", tmp_path / "tokenizer", num=6)
    tokenizer, manifest = load_tokenizer(str(tmp_path / "tokenizer")), read_manifest(data)
    items = load_prompt_items(data, manifest)
    encoded = encode_prompts(items, tokenizer, manifest)
    assert encoded == [item.shard_ids for item in items]
    assert [ids.count(tokenizer.bos_token_id) for ids in encoded] == [1] * 6


def test_a_prompt_that_cannot_be_encoded_as_in_its_shard_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_tokenizer(model, splits_words=False)  # learns the token "?\n<", which crosses the prompt's end
    write_model(model)
    data = write_data(tmp_path / "data", model, num=6)
    with pytest.raises(SFTKeyError, match=r"^arithmetic/test/\d+: the prompt alone encodes to"):
        generate(options(model, data), tmp_path / "out" / "completions.jsonl")
    assert not (tmp_path / "out").exists()


def test_data_without_tokens_is_encoded_by_the_models_tokenizer(
    completed: Path, tiny_model: Path, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data", None)
    generate(options(tiny_model, data), tmp_path / "completions.jsonl")
    assert (tmp_path / "completions.jsonl").read_bytes() == completed.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 250}, "exceed the model's context of 256; expected max_new_tokens of at most"),
        ({"model": "tinny"}, r"is not there: no such folder \(did you mean 'tiny'\?\)"),
        ({"data": "nowhere"}, "no manifest.json"),
        ({"split": "tset"}, r"no split 'tset' \(did you mean 'test'\?\)"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"dtype": "float23"}, r"did you mean 'float32'"),
        ({"device": "cudda"}, r"device 'cudda' is no device \(did you mean 'cuda'\?\); there: .*cpu"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there; there: .*cpu"),
    ],
    ids=[
        "context",
        "model",
        "data",
        "split",
        "batch",
        "dtype",
        "device",
        "absent-device",
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    tiny_model: Path, prepared: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    model = tiny_model.with_name(change.pop("model")) if "model" in change else tiny_model
    data = tmp_path / change.pop("data") if "data" in change else prepared
    with pytest.raises(SFTKeyError, match=message) as caught:
        generate(options(model, data, **change), tmp_path / "completions.jsonl")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SFTKeyError, match=r"1 weights are missing or misshapen, .*layers\.1\.mlp\.up_proj"):
        generate(options(model, prepared), tmp_path / "out" / "completions.jsonl")


def test_two_writers_at_once_are_refused(completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    out = interrupt(completed, tmp_path, 4, b"")
    with (
        Journal(out, [row["id"] for row in read(completed)]),
        pytest.raises(SFTKeyError, match="being written by another run"),
    ):
        generate(options(tiny_model, prepared), out)


def test_a_flipped_bit_in_completions_is_neither_scored_nor_taken_for_done(
    completed: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(completed.parent, tmp_path / "run")
    out = folder / completed.name
    score_file(out, tmp_path / "good.parquet")
    content = bytearray(out.read_bytes())
    content[content.index(b'"prompt": "') + 11] ^= 1
    out.write_bytes(content)
    with pytest.raises(SFTKeyError, match=r"completions\.jsonl: changed since it was written: its sha256 is "):
        score_file(out, tmp_path / "bad.parquet")
    with pytest.raises(SFTKeyError, match=r"completions\.jsonl: changed since it was written"):
        generate(options(tiny_model, prepared), out)
    assert not (tmp_path / "bad.parquet").exists()
    (folder / "run.json").rename(folder / "elsewhere.json")
    score_file(out, tmp_path / "as_it_is.parquet", ScoreOptions(template="sftkey"))
