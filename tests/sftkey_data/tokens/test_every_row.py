"""Every row of real files, for every tokenizer and template, against transformers alone.

The ids come from one call of the tokenizer, the borders from its offsets by the few lines below: nothing of the
project's encoders, borders or templates is used to say what is right.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.prepared.shards import open_shards

TOKENIZERS = ("qwen2.5", "gpt2", "phi-3-mini", "falcon", "cl100k")
MARKS = {
    "sftkey": ("<Thinking>\n", "\n</Thinking>", "\n<Answer>\n", "\n</Answer>"),
    "sftkey-compact": ("<Thinking>", "</Thinking>", "<Answer>", "</Answer>"),
    "think-boxed": ("<think>\n", "\n</think>", "\n\\boxed{", "}"),
    "boxed": ("", "", "\n\\boxed{", "}"),
    "hash": ("", "", "\n#### ", ""),
    "plain": ("", "", "\nThe answer is ", "."),
}
"""What each template writes before the CoT, after it, before the Key and after it."""

FLAN = ("aqua", "creak", "ecqa", "gsm8k", "qasc", "sensemaking", "strategyqa")
SOURCES = {
    "gsm8k": (["gsm8k/train.jsonl"], 7_473),
    "math": (["math/test.jsonl"], 5_000),
    "flan_cot": ([f"flan_cot/{name}_train.tsv" for name in FLAN], 33_443),
}
UNREADABLE = {("gsm8k", "plain"): 2, ("math", "hash"): 1, ("math", "plain"): 36, ("flan_cot", "plain"): 2}
"""Rejected rows by dataset and template, none where not named: a CoT that says "The answer is" or, once, a Key of two
lines, which the templates without a closing mark could not read back."""

ROWS_AT_ONCE = 2048
KEY_START, KEY_END, PROMPT, NOT_PREFIX = 1, 2, 4, 8  # bits of `straddle`, as schema version 1 defines them

pytestmark = pytest.mark.slow


class Reference:
    """What transformers says of texts: their ids, and the characters of each token."""

    def __init__(self, directory: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(directory))
        self.has_nfc = self.tokenizer.backend_tokenizer.normalizer is not None

    def encode(self, texts: list[str]) -> tuple[list[list[int]], list[NDArray[np.int64]]]:
        """Ids with the closing EOS, and the offsets of all but that, of shape (tokens, 2)."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOKENIZERS_PARALLELISM", "true")  # not while a build forks its workers
            encoded = self.tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False)
        ids = [[*row, self.tokenizer.eos_token_id] for row in encoded["input_ids"]]
        flat = np.fromiter(chain.from_iterable(chain.from_iterable(encoded["offset_mapping"])), np.int64)
        ends = np.cumsum([len(row) for row in encoded["input_ids"]])
        return ids, np.split(flat.reshape(-1, 2), ends[:-1])

    def ids(self, texts: list[str]) -> list[list[int]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOKENIZERS_PARALLELISM", "true")
            found: list[list[int]] = self.tokenizer(texts, return_attention_mask=False)["input_ids"]
        return found

    def decode(self, runs: Sequence[list[int]]) -> list[str]:
        """The text of runs of tokens, as the model would write them: no clean-up of spaces."""
        found: list[str] = self.tokenizer.backend_tokenizer.decode_batch(list(runs), skip_special_tokens=False)
        return found

    def same(self, text: str) -> str:
        """The text as the tokenizer sees it, without white space at its ends (SentencePiece decodes without it)."""
        return (unicodedata.normalize("NFC", text) if self.has_nfc else text).strip()


def rows_of(folder: Path) -> Iterator[list[dict[str, Any]]]:
    for batch in open_shards(folder).to_batches(max_chunksize=ROWS_AT_ONCE):
        yield batch.to_pylist()


def check_text(row: dict[str, Any], template: str) -> None:
    """CoT and Key stand between the template's marks, where their spans say; the Key is the gold."""
    before_cot, after_cot, before_key, after_key = MARKS[template]
    completion = row["completion"]
    cot, key = (completion[row[f"{part}_start"] : row[f"{part}_end"]] for part in ("cot", "key"))
    assert key == row["gold"] == key.strip() != ""
    assert cot == cot.strip() != ""
    assert completion == f"{before_cot}{cot}{after_cot}{before_key}{key}{after_key}"
    assert row["cot_start"] == len(before_cot)
    assert row["key_start"] == row["cot_end"] + len(after_cot) + len(before_key)


def expected_borders(row: dict[str, Any], offsets: NDArray[np.int64], after_cot: str) -> tuple[int, ...]:
    """Borders and the straddle bits of Key and prompt, by comparing every token's characters with the spans."""
    start, end = offsets[:, 0], offsets[:, 1]
    prompt = len(row["prompt"])
    tag_end = prompt + row["cot_end"] + len(after_cot)
    key_start, key_end = prompt + row["key_start"], prompt + row["key_end"]
    key = np.flatnonzero((start < key_end) & (end > key_start))
    first, last = int(key[0]), int(key[-1]) + 1
    assert len(key) == last - first, "the tokens that touch the Key are not a run"
    num_prompt, num_cot = int((start < prompt).sum()), min(int((start < tag_end).sum()), first)
    straddle = KEY_START * bool(start[first] < key_start) | KEY_END * bool(end[last - 1] > key_end)
    straddle |= PROMPT * bool(end[num_prompt - 1] > prompt)
    return num_prompt, num_cot, first, last, len(offsets), straddle


def check_tokens(
    row: dict[str, Any], ids: list[int], offsets: NDArray[np.int64], template: str, reference: Reference
) -> None:
    """Ids, borders and their order; the offsets must be the untrimmed ones."""
    assert row["input_ids"] == ids
    gaps = offsets[1:, 0] > np.maximum.accumulate(offsets[:, 1])[:-1]
    assert not gaps.any() or reference.has_nfc, "an offset was trimmed"
    prompt, cot, first, last, end, straddle = expected_borders(row, offsets, MARKS[template][1])
    names = ("prompt_tokens", "cot_token_end", "key_token_start", "key_token_end", "answer_token_end")
    assert tuple(row[name] for name in names) == (prompt, cot, first, last, end)
    assert 0 < prompt <= cot <= first < last <= end == len(ids) - 1
    assert row["straddle"] & ~NOT_PREFIX == straddle


def check_keys(rows: list[dict[str, Any]], reference: Reference) -> None:
    """The Key's tokens decode to the gold, or to more where a token straddles."""
    runs = [row["input_ids"][row["key_token_start"] : row["key_token_end"]] for row in rows]
    for row, decoded in zip(rows, reference.decode(runs), strict=True):
        gold = reference.same(row["gold"])
        if row["straddle"] & (KEY_START | KEY_END):
            assert gold in reference.same(decoded), row["id"]
        else:
            assert reference.same(decoded) == gold, row["id"]


def check_prompts(rows: list[dict[str, Any]], reference: Reference) -> None:
    """The bit that the prompt alone gives other tokens than it has in the whole text."""
    for row, alone in zip(rows, reference.ids([row["prompt"] for row in rows]), strict=True):
        differs = alone != row["input_ids"][: row["prompt_tokens"]]
        assert bool(row["straddle"] & NOT_PREFIX) == differs, row["id"]


@pytest.mark.parametrize("template", MARKS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_row_has_the_ids_of_transformers_and_borders_by_its_offsets(
    name: str, template: str, shared_data: Path, tmp_path: Path
) -> None:
    directory = shared_data / "tokenizers" / name
    reference = Reference(directory)
    for source, (files, num_rows) in SOURCES.items():
        inputs = tuple(str(shared_data / "raw" / file) for file in files)
        config = BuildConfig(source=source, inputs=inputs, template=template, tokenizer=str(directory), split="train")
        counts = build(config, tmp_path / source, machinery=Machinery(2)).counts
        assert counts.rows_read == num_rows
        assert counts.rejected == UNREADABLE.get((source, template), 0)
        seen = 0
        for rows in rows_of(tmp_path / source):
            ids, offsets = reference.encode([row["prompt"] + row["completion"] for row in rows])
            for row, row_ids, row_offsets in zip(rows, ids, offsets, strict=True):
                check_text(row, template)
                check_tokens(row, row_ids, row_offsets, template, reference)
            check_keys(rows, reference)
            check_prompts(rows, reference)
            seen += len(rows)
        assert seen == counts.written
