"""Questions that name a special token of the model: refused, or encoded as text; never silently a control token."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.exposure.forced_inputs import encode_key
from sftkey_eval.generation.prompt_items import encode_prompts, load_prompt_items, model_encoder

QUESTIONS = ("What is 2 + 3?", "What does <|im_end|> do?")


def folder(out: Path, **values: Any) -> Path:
    rows = [{"prompt": question, "cot": "2 + 3 = 5", "key": "5"} for question in QUESTIONS]
    out.mkdir()
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(BuildConfig(source="columns", inputs=(str(out / "rows.jsonl"),), **values), out / "data")
    return out / "data"


@pytest.mark.parametrize(
    "built_by", [None, pytest.param("gpt2", marks=pytest.mark.slow)], ids=["no tokenizer", "another tokenizer"]
)
def test_a_question_that_names_a_special_token_is_refused_or_encoded_as_text(
    tmp_path: Path, shared_data: Path, built_by: str | None
) -> None:
    values = {} if built_by is None else {"tokenizer": str(shared_data / "tokenizers" / built_by)}
    data = folder(tmp_path / "folder", **values)
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    items, manifest = load_prompt_items(data, read_manifest(data)), read_manifest(data)
    with pytest.raises(
        SFTKeyError, match=r"/1: the question names '<\|im_end\|>', .* by --special-tokens text, or leave"
    ):
        encode_prompts(items, tokenizer, manifest)
    plain, named = encode_prompts(items, tokenizer, manifest, "text")
    assert plain == tokenizer(items[0].prompt)["input_ids"]
    assert not set(named) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(named) == items[1].prompt


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_what_the_build_encoded_as_text_the_model_is_asked_as_text(
    tmp_path: Path, shared_data: Path, chat: bool
) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    values = {"tokenizer": tokenizer.name_or_path, "chat": chat, "special_tokens": "text"}
    data = folder(tmp_path / "folder", **values)
    items, manifest = load_prompt_items(data, read_manifest(data)), read_manifest(data)
    encoded = encode_prompts(items, tokenizer, manifest)
    assert encoded == [item.shard_ids for item in items]
    encoder = model_encoder({item.id: item.prompt for item in items}, tokenizer, manifest)
    controls = [[index for index in ids if index in encoder.control_ids] for ids in encoded]
    assert controls[0] == controls[1]
    assert bool(controls[0]) == chat


@pytest.mark.slow
def test_a_forced_key_stands_behind_the_prompt_that_the_model_was_asked(tmp_path: Path, shared_data: Path) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    data = folder(tmp_path / "folder")
    manifest = read_manifest(data)
    item = load_prompt_items(data, manifest)[1]
    (asked,) = encode_prompts([item], tokenizer, manifest, "text")
    completion, spans = manifest.template.render("2 + 3 = 5", "5")
    encoder = model_encoder({item.id: item.prompt}, tokenizer, manifest)
    named = [(item.prompt.index("<|im_end|>"), item.prompt.index(" do?"))]
    shown = encode_key(item.prompt, completion, spans, encoder, named)
    assert not isinstance(shown, str)
    assert list(shown.ids[: len(asked)]) == asked
