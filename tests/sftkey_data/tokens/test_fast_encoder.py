"""The fast encoder writes what the reference writes, or leaves the row to it."""

import atexit
import json
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.work import REFERENCE_ONLY
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepare.rendered_rows import Preparation
from sftkey_data.prepare.unit import Unit, prepare
from sftkey_data.prepared.manifest import REJECTS
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import load_dataset
from sftkey_data.sources.source import Record, find_source, read_source
from sftkey_data.tokens import fast_encoder
from sftkey_data.tokens.fast_encoder import NFC_CHANGES, FastEncoder, Mismatch, find_fast_encoder
from sftkey_data.tokens.id_sources import IdSource, tiktoken_source
from sftkey_data.tokens.tokenizer import Encoder, load_tokenizer

REAL = ("qwen2.5", "gpt2", "phi-3-mini", "falcon", "cl100k")
LIKE = {"like Llama 2": "phi-3-mini", "like Gemma 3": "phi-3-mini", "with BOS": "gpt2"}
"""Tokenizers made of a real one's vocabulary, with the other parts of another family's."""
TOKENIZERS = (*REAL, *LIKE)
NAMES = {
    "qwen2.5": "fastokens",
    "gpt2": "fastokens",
    "cl100k": "fastokens",
    "falcon": "tiktoken",
    "with BOS": "fastokens",
}
TEMPLATES = ("sftkey", "sftkey-compact", "think-boxed", "hash")

Prepare = Callable[[Preparation], Unit]


SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
BOS = {"<s>": 1, "<|endoftext|>": 50_256}


@cache
def folder(shared_data: Path, name: str) -> str:
    """A tokenizer's folder; one of another family is made below a temporary one."""
    origin = shared_data / "tokenizers" / LIKE.get(name, name)
    if name not in LIKE:
        return str(origin)
    content = json.loads((origin / "tokenizer.json").read_text("utf-8"))
    if name == "like Llama 2":
        content |= {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": [PREPEND, SPACES]}}
    if name == "like Gemma 3":
        content |= {"pre_tokenizer": SPLIT, "normalizer": SPACES}
        content["decoder"]["decoders"].pop()  # strips no space, as none was put before
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        next_id = max(token["id"] for token in content["added_tokens"]) + 1
        for number, breaks in enumerate(["\n", "\n\n", "\n\n\n"]):
            content["added_tokens"].append({"id": next_id + number, "content": breaks, **plain})
    bos, number = list(BOS.items())[name == "with BOS"]
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {bos: {"id": bos, "ids": [number], "tokens": [bos]}},
    }
    made = Path(mkdtemp(prefix="sftkey-tokenizer-"))
    atexit.register(rmtree, made)
    (made / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (made / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(made)


@cache
def encoders(path: str) -> tuple[Encoder, FastEncoder]:
    reference = Encoder(load_tokenizer(path))
    fast = find_fast_encoder(reference)
    assert fast is not None
    return reference, fast


def recipe(path: str, template: str = "sftkey", **values: Any) -> Preparation:
    """A recipe whose every row is compared with the reference, too."""
    reference, fast = encoders(path)
    values = {"dataset": load_dataset("gsm8k"), "straddle": "cover", "fast": fast, "reference_share": 1} | values
    return Preparation(split="train", template=BUILTIN[template], encoder=reference, **values)


def assert_same(records: list[tuple[int, Record]], fast: Preparation) -> Unit:
    found, expected = prepare(records, fast), prepare(records, replace(fast, fast=None))
    assert found.table.equals(expected.table)
    assert found.rejects == expected.rejects
    assert np.array_equal(found.lengths, expected.lengths)
    return found


def rows(*answers: str, question: str = "How many?") -> list[tuple[int, Record]]:
    return [(i, Record("here", i, {"question": question, "answer": a})) for i, a in enumerate(answers)]


@pytest.mark.parametrize("template", some_slow(TEMPLATES, quick=["hash"]))
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_real_rows_come_out_the_same(shared_data: Path, tokenizer: str, template: str) -> None:
    source = find_source(str(shared_data / "raw" / "gsm8k" / "train.jsonl"), None)
    records = [(i, r) for i, r in enumerate(read_source(source)) if i % 37 == 0 or not str(r.row).isascii()][:400]
    unit = assert_same(records, recipe(folder(shared_data, tokenizer), template))
    assert unit.table.num_rows + len(unit.rejects) == len(records)
    assert unit.table.num_rows > 390


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_fast_encoder_is_sure_of_real_rows(shared_data: Path, tokenizer: str) -> None:
    """Else every row would be encoded twice, and nothing would say so."""
    source = find_source(str(shared_data / "raw" / "gsm8k" / "test.jsonl"), None)
    made = recipe(folder(shared_data, tokenizer))
    assert made.fast is not None
    texts, positions = [], []
    for record in islice(read_source(source), 200):
        parts = made.dataset.extract(record.row)
        completion, spans = made.template.render(parts.cot, parts.key)
        prompt = f"{parts.prompt}\n"
        texts.append(prompt + completion)
        places = (0, spans.cot_tag_end, spans.key_start, spans.key_end)
        positions.append([len(prompt) + place for place in places])
    eligible = made.fast.eligible(texts)
    encoding = made.fast.encode([texts[i] for i in eligible], np.array([positions[i] for i in eligible]))
    assert len(eligible) > 190
    assert encoding.sure.all()


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_which_encoder_is_the_fast_one(shared_data: Path, tokenizer: str) -> None:
    assert encoders(folder(shared_data, tokenizer))[1].name == NAMES.get(tokenizer, "tokenizers")


@pytest.mark.parametrize("tokenizer", ["qwen2.5", "gpt2", "cl100k"])
def test_tiktoken_gives_the_same_where_it_stands_in(shared_data: Path, tokenizer: str) -> None:
    reference, fast = encoders(folder(shared_data, tokenizer))
    texts = ["What is 7 + 65?\n72", "naïve café 日本語 x=12345", " \n\n  it's  ", "\x00\x05"]
    source = tiktoken_source(reference)
    assert source is not None
    for found, expected in zip(source.encode(texts), fast.ids(texts), strict=True):
        assert np.array_equal(found, expected)


FALCON_PIECES = [
    *(" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2009", "\u200b"),
    *("a", "the", "Hello", "'s", "é", "e\u0301", "ß", "日本", "नमस्ते"),
    *("12", "1234", "3", "½", "²", "Ⅷ", "٣", "٤٥", "٦٧٨", "１２３"),
    *("!", "?", "...", "-", "+", "$", "€", "∞", "😀", '"', "_", "`", "~", "|", "«", "»", "—"),
]


def test_the_one_pattern_splits_as_the_four_of_falcon(shared_data: Path) -> None:
    reference, fast = encoders(str(shared_data / "tokenizers" / "falcon"))
    random = Random(0)
    texts = ["".join(random.choices(FALCON_PIECES, k=random.randint(1, 30))) for _ in range(20_000)]
    ids, offsets = fast.ids(texts)
    expected = reference.encode_batch(texts)
    assert all(ids[offsets[i] : offsets[i + 1]].tolist() == one.ids for i, one in enumerate(expected))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_prompt_cut_anywhere_is_a_prefix_where_the_reference_says_so(shared_data: Path, tokenizer: str) -> None:
    reference, fast = encoders(folder(shared_data, tokenizer))
    text = "Natalia's 1,234 clips; naïve 日本語 — half?\n\n  unbelievable <Answer>\n72"
    whole, cuts = reference.encode_batch([text])[0].ids, range(1, len(text) - 3)
    positions = np.array([[cut, cut, len(text) - 2, len(text)] for cut in cuts])
    encoding = fast.encode([text] * len(cuts), positions)
    prompts = [text[:cut] for cut in cuts]
    alone = [encoded.ids for encoded in reference.encode_batch(prompts)]
    num_tokens = encoding.borders[:, 0].tolist()
    expected = [ids == whole[:num] for ids, num in zip(alone, num_tokens, strict=True)]
    assert len(set(expected)) == 2
    assert fast.prompts_are_prefixes(prompts, [text] * len(cuts), encoding).tolist() == expected


LINE_PIECES = (
    "a",
    "Word",
    " b",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "1",
    "2345",
    "?",
    "...",
    "<",
    "/",
    "'s",
    "é",
    "—",
    "日",
    "\u00a0",
)


@pytest.mark.parametrize("tokenizer", ["qwen2.5", "cl100k", "gpt2", "falcon"])
def test_a_prompt_that_ends_a_line_is_a_prefix(
    shared_data: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told without encoding the prompts is what encoding them tells."""
    _, fast = encoders(folder(shared_data, tokenizer))
    random, pairs = Random(0), list[tuple[str, str]]()
    for _ in range(3_000):
        prompt, rest = ("".join(random.choices(LINE_PIECES, k=random.randint(1, 6))) for _ in range(2))
        pairs.append((f"{prompt}\n" if random.random() < 0.8 else prompt, f"{rest}x"))
    prompts, texts = [prompt for prompt, _ in pairs], ["".join(pair) for pair in pairs]
    ends = np.array(
        [[len(prompt), len(text) - 1, len(text) - 1, len(text)] for (prompt, _), text in zip(pairs, texts, strict=True)]
    )
    encoding = fast.encode(texts, ends)
    found = fast.prompts_are_prefixes(prompts, texts, encoding).tolist()
    told = [fast_encoder._ends_line(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    assert 500 < sum(told) < 2_500
    monkeypatch.setattr(fast, "_splits_at_lines", False)
    assert found == fast.prompts_are_prefixes(prompts, texts, encoding).tolist()
    assert len(set(found)) == 2


def test_what_nfc_may_change_is_asked_of_the_tokenizer() -> None:
    inert = [chr(code) for code in range(sys.maxunicode + 1) if NFC_CHANGES.search(chr(code)) is None]
    assert {"a", "é", "½", "−", "€"} <= set(inert)
    assert all(unicodedata.is_normalized("NFC", one) and not unicodedata.combining(one) for one in inert)
    for code in range(sys.maxunicode + 1):  # none is the second half of a composed character
        parts = unicodedata.decomposition(chr(code)).split()
        assert len(parts) != 2 or parts[0].startswith("<") or chr(int(parts[1], 16)) not in inert


strange = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("e\u0301\u0327\u200d\u2581  \n\t\r'sS0123456789.,$%{}\\<>|½ﬁ٤１😀\x00\x05"),
    ),
    max_size=40,
)
pieces = st.one_of(strange, st.sampled_from(["<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<tool_call>", "<0x0A>"]))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_strange_rows_come_out_the_same(shared_data: Path, tokenizer: str, data: st.DataObject) -> None:
    words = data.draw(st.lists(pieces, min_size=3, max_size=12))
    records = rows(*(f"{a}{b}\n#### {b}" for a in words[:6] for b in words[-2:]), question=words[0])
    template = data.draw(st.sampled_from(TEMPLATES))
    assert_same(records, recipe(folder(shared_data, tokenizer), template))


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"straddle": "strict"}, "straddle"), ({"max_tokens": 16}, "too_long")],
    ids=["strict", "max-tokens"],
)
def test_a_policy_rejects_the_same_rows(shared_data: Path, values: dict[str, Any], reason: str) -> None:
    records = rows("a #### 1", "some longer way to the answer, of many words #### 2", "b #### 3")
    unit = assert_same(records, recipe(str(shared_data / "tokenizers" / "gpt2"), "hash", **values))
    assert {reject["reason"] for reject in unit.rejects} == {reason}


def test_a_prompt_that_merges_with_the_completion_is_flagged(shared_data: Path) -> None:
    """Under `hash` the CoT follows the prompt's line break directly: two line breaks are one token of gpt2's."""
    records = rows("a #### 1")
    fast = recipe(str(shared_data / "tokenizers" / "gpt2"), "hash", system="Be brief.")
    unit = assert_same(records, fast)
    assert unit.table["straddle"].to_pylist() == [1]


def wrong(path: str, text: str) -> FastEncoder:
    """An encoder that is wrong about the texts that hold a text."""
    reference, fast = encoders(path)

    def encode(texts: list[str]) -> Any:
        ids, offsets = fast._source.encode(texts)
        ids = ids.copy()
        for row, found in enumerate(texts):
            if text in found:
                ids[offsets[row] : offsets[row + 1]] = ids[offsets[row]]
        return ids, offsets

    return FastEncoder(reference, IdSource("wrong", encode), fast._alphabet)


def test_a_wrong_id_is_a_mismatch(shared_data: Path) -> None:
    path = str(shared_data / "tokenizers" / "gpt2")
    with pytest.raises(Mismatch, match="other ids"):
        prepare(rows("a #### 1", "rare #### 2"), recipe(path, fast=wrong(path, "rare"), reference_share=10**9))


@pytest.mark.parametrize("place", [0, 2500], ids=["seen before the first row", "seen in the middle"])
def test_a_mismatch_brings_back_the_reference_from_the_first_shard(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: int
) -> None:
    import json

    path = str(shared_data / "tokenizers" / "gpt2")
    lines = [
        {"question": f"How many is {i}?", "answer": f"{'rare' if i == place else 'It'} is #### {i}"}
        for i in range(3000)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = BuildConfig(source="gsm8k", inputs=(str(tmp_path / "rows.jsonl"),), tokenizer=path, shard_rows=1000)
    build(config, tmp_path / "right")
    monkeypatch.setattr("sftkey_data.building.plan.find_fast_encoder", lambda *_, **__: wrong(path, "rare"))
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out").equals(open_shards(tmp_path / "right"))
    assert (tmp_path / "out" / REJECTS).read_bytes() == b""
    said = capfd.readouterr().err
    assert "reference encoder" in said
    assert ("beginning again" in said) == (place > 0)
    assert REFERENCE_ONLY not in {p.name for p in (tmp_path / "out").iterdir()}
