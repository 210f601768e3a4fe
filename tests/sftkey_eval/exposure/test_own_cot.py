"""The gold Key behind a model's own CoT: where its completion is cut, and the tokens that come of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, CUT, RIGHT, completion
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.exposure.forced_inputs import Forced, load_forced
from sftkey_eval.exposure.own_cot import with_gold_key

COT = "<Thinking>\nso it is 9\n</Thinking>\n<Answer>\n"


@pytest.mark.parametrize(
    ("template", "written", "expected"),
    [
        ("sftkey", f"{COT}9\n</Answer>", f"{COT}7\n</Answer>"),
        ("sftkey", f"\n {COT}  9</Answer>  ", f"\n {COT}  7\n</Answer>"),
        ("sftkey", f"{COT}9\n</Answer>\nDone.", f"{COT}7\n</Answer>"),
        ("sftkey", f"Well: {COT}9\n</Answer>", f"Well: {COT}7\n</Answer>"),
        ("sftkey", f"{COT}9", f"{COT}7\n</Answer>"),
        ("sftkey", f"{COT}\n</Answer>", f"{COT}\n7\n</Answer>"),
        ("sftkey", COT.rstrip(), f"{COT}7\n</Answer>"),
        ("sftkey", f"{COT}9\n</Answer>\n<Answer>\n8\n</Answer>", f"{COT}7\n</Answer>"),
        ("sftkey", "<thinking>so 9</ Thinking><ANSWER>9</ANSWER>", "<thinking>so 9</ Thinking><ANSWER>7\n</Answer>"),
        ("hash", "so it is 9\n####9", "so it is 9\n####7"),
        ("hash", "so it is 9\n####", "so it is 9\n#### 7"),
        ("hash", "so it is 9\n#### 9\nQuestion: 3", "so it is 9\n#### 7"),
        ("plain", "so 9\nThe answer is 9 apples", "so 9\nThe answer is 7."),
        ("boxed", r"not \boxed{3}, so \boxed{9} and so on", r"not \boxed{3}, so \boxed{7}"),
        ("boxed", r"so it is \boxed{\frac{9", r"so it is \boxed{7}"),
        ("boxed", r"not \boxed{3}, so \boxed{\frac{9", r"not \boxed{3}, so \boxed{7}"),
    ],
)
def test_what_stands_before_the_key_is_kept_as_the_model_wrote_it(template: str, written: str, expected: str) -> None:
    used = BUILTIN[template]
    tail = used.after_key
    text, spans = with_gold_key(written, "7", tail, used)
    assert text == expected
    assert text[spans.key_start : spans.key_end] == "7"


@pytest.mark.parametrize(
    ("written", "finish_reason", "code"),
    [
        ("", "stop", "empty"),
        ("It is 9.", "stop", "missing_cot"),
        (CUT, "length", "truncated"),
        (CUT, "stop", "unclosed_cot"),
        ("<Thinking>\nso\n</Thinking>\n9", "stop", "missing_key"),
        ("<Answer>\n9\n</Answer>\n<Thinking>\nso\n</Thinking>", "stop", "wrong_order"),
        ("<Thinking>\n</Thinking>\n<Answer>\n9\n</Answer>", "stop", "empty_cot"),
    ],
)
def test_a_completion_without_a_cot_before_a_key_keeps_its_code(written: str, finish_reason: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        with_gold_key(written, "7", "\n</Answer>", BUILTIN["sftkey"], finish_reason)
    assert caught.value.code == code


def test_a_right_completion_gives_itself() -> None:
    assert with_gold_key(RIGHT, "42", "\n</Answer>", BUILTIN["sftkey"])[0] == RIGHT
    assert with_gold_key(AFTER, "42", "\n</Answer>", BUILTIN["sftkey"])[0] == RIGHT


KEYS = ["72", "-1,234.5", r"\frac{1}{2}", "x = 7/3", "Evelyn", "٤٢", "½ of it"]
OWN = ["so 3 + 4 = 7", "it's  naïve:\t½ 日本語 😀", r"$\sqrt{9}$ is 3 #", "one\n\ntwo  "]


def built(folder: Path, cots: list[str], tokenizer: Path, template: str) -> Path:
    """Every Key behind one of the CoTs in turn, prepared."""
    rows = folder.with_suffix(".jsonl")
    pairs = [(cot, key) for cot in cots for key in KEYS]
    lines = [{"prompt": f"What is {n}?", "cot": cot, "key": key} for n, (cot, key) in enumerate(pairs)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = BuildConfig(
        source="columns",
        split="test",
        inputs=(str(rows),),
        template=template,
        tokenizer=str(tokenizer),
        options={"answer_type": "math"},
    )
    build(config, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", some_slow(["gpt2", "phi-3-mini", "qwen2.5", "cl100k", "falcon"], quick=["qwen2.5"]))
@pytest.mark.parametrize(
    "template", some_slow(["hash", "sftkey", "sftkey-compact", "boxed", "plain"], quick=["sftkey"])
)
def test_the_tokens_behind_an_own_cot_are_those_of_a_build_of_the_same_text(
    tmp_path: Path, shared_data: Path, name: str, template: str
) -> None:
    folder = shared_data / "tokenizers" / name
    data = built(tmp_path / "data", ["the gold CoT"] * len(OWN), folder, template)
    same_texts = open_shards(built(tmp_path / "own", OWN, folder, template)).to_pylist()
    rows, lines = open_shards(data).to_pylist(), []
    for number, row in enumerate(rows):
        written, _ = BUILTIN[template].render(OWN[number // len(KEYS)], "9")  # the model's own Key, which is wrong
        lines.append({"id": row["id"], "prompt": row["prompt"], "gold": row["gold"], "completion": written})
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    items = load_forced(data, read_manifest(data), path, load_tokenizer(str(folder)))
    assert [item.samples[0].own for item in items] == [up_to_key(row) for row in same_texts]
    assert [item.gold for item in items] == [up_to_key(row) for row in rows]


def up_to_key(row: dict[str, Any]) -> Forced:
    return Forced(tuple(row["input_ids"][: row["key_token_end"]]), row["key_token_start"])


def test_a_key_behind_text_that_is_no_unicode_is_left_out_under_a_code(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    row = open_shards(prepared).to_pylist()[0]
    line = {"id": row["id"], "prompt": row["prompt"], "gold": row["gold"], "completion": completion("\ud800", "9")}
    (tmp_path / "completions.jsonl").write_text(json.dumps(line) + "\n")
    tokenizer = load_tokenizer(str(tiny_model))
    (item,) = load_forced(prepared, read_manifest(prepared), tmp_path / "completions.jsonl", tokenizer)
    assert item.samples[0].own == "invalid_unicode"
