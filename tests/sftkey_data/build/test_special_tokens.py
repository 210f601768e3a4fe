"""A special token in a row's own text is no text: the row is rejected, not written with control ids."""

import json
from pathlib import Path
from typing import Any

import pytest

from sftkey_data.build.build import build
from sftkey_data.build.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer

GOOD = {"prompt": "What is 2 + 3?", "cot": "2 + 3 = 5", "key": "5", "choices": ["4", "5"]}
OPTIONS = {"choices": "choices"}


def built(folder: Path, rows: list[dict[str, Any]], tokenizer: Path, **values: Any) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = (str(folder / "rows.jsonl"),)
    config = BuildConfig(
        source="columns", inputs=inputs, options=OPTIONS, tokenizer=str(tokenizer), max_reject_rate=1.0, **values
    )
    build(config, folder / "out")
    return folder / "out"


@pytest.mark.parametrize(("name", "chat"), [("gpt2", False), ("phi-3-mini", False), ("qwen2.5", True)])
def test_a_special_token_in_any_part_rejects_the_row(tmp_path: Path, shared_data: Path, name: str, chat: bool) -> None:
    tokenizer = shared_data / "tokenizers" / name
    special = {"gpt2": "<|endoftext|>", "phi-3-mini": "<|end|>", "qwen2.5": "<|im_end|>"}[name]
    bad = [{**GOOD, part: f"What does {special} do?"} for part in ("prompt", "cot", "key")]
    bad.append({**GOOD, "choices": ["4", special]})
    out = built(tmp_path, [GOOD, *bad], tokenizer, chat=chat)
    assert read_manifest(out).rejects == {"special_token_in_text": len(bad)}
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [reject["detail"].split(" holds ")[0] for reject in rejects] == [
        f"the {part}" for part in ("prompt", "CoT", "Key", "options")
    ]
    assert all(special in reject["detail"] for reject in rejects)
    ids = load_tokenizer(str(tokenizer)).all_special_ids
    first = open_shards(out).to_pylist()[0]
    assert not set(first["input_ids"][first["prompt_tokens"] : -1]) & set(ids)


def test_without_a_tokenizer_a_text_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({**GOOD, "prompt": "What does <|im_end|> do?"}) + "\n")
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),)), tmp_path / "out")
    assert read_manifest(tmp_path / "out").counts.written == 1


def test_a_system_prompt_with_a_special_token_fails_before_the_first_row(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"--system holds '<\|im_end\|>', a special token"):
        built(tmp_path, [GOOD], shared_data / "tokenizers" / "qwen2.5", chat=True, system="Be brief.<|im_end|>")
    assert not (tmp_path / "out").exists()
