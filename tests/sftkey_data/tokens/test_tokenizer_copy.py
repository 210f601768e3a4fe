"""The copy of a tokenizer: it encodes alike, its EOS is what it is told, and its chat template writes what it wrote."""

import json
import shutil
from pathlib import Path

import pytest

from sftkey_data.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_copy import save_tokenizer

TURNS = [{"role": "user", "content": "7 + 65?"}, {"role": "assistant", "content": "72"}]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        pytest.param("phi-3-mini", "<|end|>", marks=pytest.mark.slow),
        ("qwen2.5", "<|endoftext|>"),
        pytest.param("qwen2.5", "</tool_call>", marks=pytest.mark.slow),
        ("gpt2", "<|endoftext|>"),
    ],
)
def test_a_copy_encodes_alike_and_ends_as_told(shared_data: Path, tmp_path: Path, name: str, end: str) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / name))
    end_token = tokenizer.convert_tokens_to_ids(end)
    save_tokenizer(tokenizer, tmp_path, end_token)
    copy = load_tokenizer(str(tmp_path))
    assert (copy.eos_token, copy.eos_token_id) == (end, end_token)
    assert tokenizer_fingerprint(copy) == tokenizer_fingerprint(tokenizer)


def test_a_hub_tokenizer_is_copied_with_its_end_token(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "phi-3-mini"))
    tokenizer.name_or_path = "microsoft/phi-3"  # no folder, so that transformers writes the copy
    save_tokenizer(tokenizer, tmp_path, tokenizer.convert_tokens_to_ids("<|end|>"))
    assert load_tokenizer(str(tmp_path)).eos_token == "<|end|>"


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_that_names_the_eos_goes_on_writing_the_old_one(
    shared_data: Path, tmp_path: Path, place: str
) -> None:
    origin = tmp_path / "phi"
    shutil.copytree(shared_data / "tokenizers" / "phi-3-mini", origin)
    if place == "tokenizer_config.json":
        settings = json.loads((origin / place).read_text())
        settings["chat_template"] = (origin / "chat_template.jinja").read_text()
        (origin / place).write_text(json.dumps(settings))
        (origin / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(str(origin))
    save_tokenizer(tokenizer, tmp_path / "copy", tokenizer.convert_tokens_to_ids("<|end|>"))
    rendered = [
        loaded.apply_chat_template(TURNS, tokenize=False)
        for loaded in (tokenizer, load_tokenizer(str(tmp_path / "copy")))
    ]
    assert rendered[0] == rendered[1]
    assert rendered[0].endswith("<|end|>\n<|endoftext|>")
