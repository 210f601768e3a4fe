"""A special token in a row's own text is no text: the row is rejected, not written with control ids."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.borders import token_borders
from sftkey_data.tokens.special_text import check_as_text
from sftkey_data.tokens.tokenizer import Encoder, load_tokenizer
from sftkey_data.verify.check import check
from sftkey_data.verify.row_faults import row_faults
from sftkey_data.view.show import token_ends

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


@pytest.mark.parametrize(
    ("name", "chat"),
    [("gpt2", False), pytest.param("phi-3-mini", False, marks=pytest.mark.slow), ("qwen2.5", True)],
)
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


@pytest.mark.parametrize(
    ("name", "special", "chat"),
    [
        ("gpt2", "<|endoftext|>", False),
        pytest.param("phi-3-mini", "<|end|>", False, marks=pytest.mark.slow),
        pytest.param("qwen2.5", "<|im_end|>", True, marks=pytest.mark.slow),
    ],
)
def test_as_text_the_names_of_special_tokens_are_written_without_one(
    tmp_path: Path, shared_data: Path, name: str, special: str, chat: bool
) -> None:
    """Each row beside one that names none: the same control ids in the same order, and the text decodes back."""
    tokenizer = shared_data / "tokenizers" / name
    named = f"What does {special} do?  {special}{special}"
    rows = [
        GOOD,
        {**GOOD, "prompt": named},
        {**GOOD, "cot": f"{special} é日\n {special}"},
        {**GOOD, "key": f"the {special}."},
        {**GOOD, "prompt": special, "cot": special, "key": special, "choices": ["4", special]},
    ]
    out = built(tmp_path, rows, tokenizer, chat=chat, special_tokens="text", template="sftkey")
    assert read_manifest(out).counts.written == len(rows)
    assert read_manifest(out).config["special_tokens"] == "text"
    check(out, full=True, workers=1)
    loaded = load_tokenizer(str(tokenizer))
    first, *others = open_shards(out).to_pylist()
    controls = [index for index in first["input_ids"] if index in loaded.all_special_ids]
    for row in others:
        assert [index for index in row["input_ids"] if index in loaded.all_special_ids] == controls
        text = loaded.decode(row["input_ids"][:-1], clean_up_tokenization_spaces=False)
        assert text.strip() == f"{row['prompt']}{row['completion']}"
    ends = token_ends([first, *others], open_prepared(out).encoder() or pytest.fail("no encoder"))
    assert [len(tokens) for tokens in ends] == [len(row["input_ids"]) for row in (first, *others)]


@pytest.mark.slow
def test_as_text_a_cot_that_is_cut_is_encoded_as_text_too(tmp_path: Path, shared_data: Path) -> None:
    rows = [{**GOOD, "cot": " ".join(["It ends with <|im_end|> and"] * 40)}]
    out = built(
        tmp_path,
        rows,
        shared_data / "tokenizers" / "qwen2.5",
        chat=True,
        special_tokens="text",
        max_tokens=200,
        too_long="shorten-cot",
    )
    check(out, full=True, workers=1)
    (row,) = open_shards(out).to_pylist()
    end = row["input_ids"][-1]
    assert len(row["input_ids"]) <= 200
    assert end not in row["input_ids"][row["prompt_tokens"] : -1]


def test_as_text_without_special_names_a_build_has_the_same_bytes(tmp_path: Path, shared_data: Path) -> None:
    tables = []
    for choice in ("reject", "text"):
        (tmp_path / choice).mkdir()
        out = built(tmp_path / choice, [GOOD], shared_data / "tokenizers" / "qwen2.5", special_tokens=choice)
        tables.append(open_shards(out))
    assert tables[0].equals(tables[1])


@pytest.mark.slow
def test_the_full_check_finds_a_control_token_in_a_cot_that_should_be_text(tmp_path: Path, shared_data: Path) -> None:
    rows = [{**GOOD, "cot": "It is <|im_start|> here."}]
    out = built(tmp_path, rows, shared_data / "tokenizers" / "qwen2.5", special_tokens="text")
    encoder = open_prepared(out).encoder()
    assert encoder is not None
    row = open_shards(out).to_pylist()[0]
    (encoded,) = encoder.encode_batch([row["prompt"] + row["completion"]])
    borders = token_borders(encoded, len(row["prompt"]), read_manifest(out).template.locate(row["completion"]))
    wrong = {**row, **asdict(borders), "input_ids": [*encoded.ids, encoder.eos_token_id]}
    (fault,) = row_faults([wrong], read_manifest(out).template, encoder, full=True)
    assert fault == "the control token '<|im_start|>' stands in the CoT or the Key"


def normalizing(shared_data: Path, folder: Path) -> Path:
    """A tokenizer whose normaliser makes a special token of full-width characters."""
    shutil.copytree(shared_data / "tokenizers" / "qwen2.5", folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "NFKC"}
    for token in content["added_tokens"]:
        token["normalized"] = True
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"  # of Qwen's own, transformers knows the normaliser better
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("chat", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "chat"])
@pytest.mark.parametrize("choice", ["reject", pytest.param("text", marks=pytest.mark.slow)])
def test_a_special_token_that_only_the_normaliser_makes_rejects_the_row(
    tmp_path: Path, shared_data: Path, chat: bool, choice: str
) -> None:
    tokenizer = normalizing(shared_data, tmp_path / "tokenizer")
    wide = "＜｜im_start｜＞"
    rows = [GOOD, {**GOOD, "prompt": f"What is {wide}?"}, {**GOOD, "cot": f"It is {wide}"}]
    out = built(tmp_path, rows, tokenizer, chat=chat, special_tokens=choice)
    assert read_manifest(out).rejects == {"special_token_in_text": 2}
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [reject["detail"] for reject in rejects] == [
        f"the {part} holds {wide!r}, of which the tokenizer makes '<|im_start|>'" for part in ("prompt", "CoT")
    ]


def test_a_control_token_that_is_not_flagged_special_is_one_all_the_same(tmp_path: Path, shared_data: Path) -> None:
    """Qwen's `<|fim_prefix|>`; `<tool_call>` is a word of its vocabulary like others."""
    rows = [GOOD, {**GOOD, "prompt": "What is <|fim_prefix|>?"}, {**GOOD, "prompt": "What is <tool_call>?"}]
    out = built(tmp_path, rows, shared_data / "tokenizers" / "qwen2.5")
    assert read_manifest(out).rejects == {"special_token_in_text": 1}


def test_a_tokenizer_that_cannot_write_the_name_as_text_fails_before_the_first_row(
    tmp_path: Path, shared_data: Path
) -> None:
    folder = tmp_path / "tokenizer"
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "<end>": 1, "What": 2, "?": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", unk_token="[UNK]").save_pretrained(folder)
    encoder = Encoder(load_tokenizer(str(folder)), special_text=True)
    with pytest.raises(SFTKeyError, match=r"--special-tokens text: .* cannot encode '(<end>|\[UNK\])' as plain text"):
        check_as_text(encoder)
