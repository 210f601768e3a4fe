"""Generation for a chat build stops at the end of a turn, whatever the EOS of the model's tokenizer is."""

import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import END, TURN, write_tokenizer

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import TOKENIZER_FOLDER
from sftkey_data.storage.sealed_json import DIGEST
from sftkey_eval.generation.backends import open_backend
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.hf import load_generator
from sftkey_eval.records.run_record import read_record

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
END_ID, TURN_ID = 0, 1


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says `<|im_end|>` to everything; the EOS of its tokenizer is another, as a base model's is."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("parrot") / "model"
    write_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "bos_token_id": None, "eos_token_id": END_ID}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=340, **sizes))
    with torch.no_grad():  # the last norm gives the same vector everywhere, which only one row of the head answers to
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[TURN_ID] = 1.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chats(parrot: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The same rows as chats, and as plain texts."""
    folder = tmp_path_factory.mktemp("chats")
    for chat in (True, False):
        values = {"source": "arithmetic", "split": "test", "tokenizer": str(parrot), "options": {"num": 6}}
        build(BuildConfig(**values, chat=chat), folder / str(chat))
    return {chat: folder / str(chat) for chat in (True, False)}


def options(model: Path, data: Path, **changes: Any) -> GenerateOptions:
    return GenerateOptions(**{"model": str(model), "data": data, "max_new_tokens": 4, "limit": 2} | changes)


@pytest.mark.parametrize(
    ("chat", "written", "reason", "ends"),
    [(True, "", "stop", [TURN_ID, END_ID]), (False, TURN * 4, "length", [END_ID])],
    ids=["chat", "plain"],
)
def test_hf_stops_at_what_ends_the_examples(
    parrot: Path, chats: dict[bool, Path], tmp_path: Path, chat: bool, written: str, reason: str, ends: list[int]
) -> None:
    result = generate(options(parrot, chats[chat], cache=tmp_path / "cache"), tmp_path / "completions.jsonl")
    rows = [json.loads(line) for line in result.path.read_text().splitlines()]
    assert [(row["completion"], row["finish_reason"]) for row in rows] == [(written, reason)] * 2
    assert read_record(tmp_path / "run.json").model.end_token_ids == ends


def test_the_models_own_end_stays_one(parrot: Path, chats: dict[bool, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chats[True] / TOKENIZER_FOLDER)
    assert tokenizer.eos_token == TURN
    backend: Any = open_backend(options(parrot, chats[True]), tokenizer, {}, [TURN_ID])
    assert backend.eos_token_ids == [TURN_ID, END_ID]
    assert load_generator(str(parrot)).generation_config.eos_token_id == END_ID


def test_a_run_that_ended_elsewhere_is_another_run(parrot: Path, chats: dict[bool, Path], tmp_path: Path) -> None:
    out = tmp_path / "completions.jsonl"
    generate(options(parrot, chats[True]), out)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["model"]["end_token_ids"], record[DIGEST]  # as a version before wrote it
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SFTKeyError, match=r"end_token_ids is None, expected \[1, 0\]"):
        generate(options(parrot, chats[True]), out)


def test_a_plain_back_end_that_would_run_on_is_refused(parrot: Path, chats: dict[bool, Path], tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError) as caught:
        generate(options(parrot, chats[True], backend="dummy"), tmp_path / "completions.jsonl")
    assert str(caught.value) == (
        f"back-end 'dummy' stops at the EOS of the model's tokenizer alone, which is {END!r}; expected {TURN!r}, "
        f"which ends the examples of {chats[True]}, or one of the back-ends hf, vllm, sglang"
    )
    assert list(tmp_path.iterdir()) == []
    generate(options(parrot, chats[False], backend="dummy"), tmp_path / "completions.jsonl")


@pytest.mark.parametrize("backend", ["local-completions", "sglang-generate"])
@pytest.mark.parametrize(("chat", "stops"), [(True, [[TURN_ID]]), (False, [])], ids=["chat", "plain"])
def test_a_server_is_told_of_an_end_that_it_does_not_know(
    parrot: Path,
    chats: dict[bool, Path],
    tmp_path: Path,
    recorder: tuple[str, list[Any]],
    backend: str,
    chat: bool,
    stops: list[Any],
) -> None:
    address, sent = recorder
    asked = options(parrot, chats[chat], backend=backend, backend_args=f"base_url={address}", limit=1)
    with pytest.raises(SFTKeyError, match="status 418"):
        generate(asked, tmp_path / "completions.jsonl")
    (payload,) = sent
    places = (payload, payload.get("sampling_params", {}))
    assert [place["stop_token_ids"] for place in places if "stop_token_ids" in place] == stops
