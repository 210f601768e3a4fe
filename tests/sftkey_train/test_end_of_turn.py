"""Training on a chat build: what ends its turns ends the completions, in the stages and in what they leave."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.prepared.manifest import TOKENIZER_FOLDER
from sftkey_train.batches.training_set import TrainingSet, read_training_set
from sftkey_train.measure.generated_match import _complete, read_prompts
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] + '<turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
TURN = 1
Write = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="session")
def base_tokenizer(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's tokenizer: it has a token for the end of a turn and a chat template, its EOS ends a text."""
    from tokenizers import Tokenizer

    content = json.loads((tokenizer_dir / "tokenizer.json").read_text())
    turn = content["added_tokens"][0] | {"id": TURN, "content": "<turn>"}
    vocabulary = content["model"]["vocab"]
    (displaced,) = (text for text, token in vocabulary.items() if token == TURN)
    vocabulary |= {"<turn>": TURN, displaced: len(vocabulary)}
    content["added_tokens"].append(turn)
    folder = tmp_path_factory.mktemp("base") / "tokenizer"
    made = Tokenizer.from_str(json.dumps(content))
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", chat_template=TEMPLATE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def turns(rows_file: Path, base_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The rows as chats, and as plain texts."""
    folder = tmp_path_factory.mktemp("turns")
    for chat in (True, False):
        values = {"source": "gsm8k", "inputs": (str(rows_file),), "tokenizer": str(base_tokenizer), "chat": chat}
        build(BuildConfig(**values), folder / str(chat))
    return {chat: folder / str(chat) for chat in (True, False)}


@pytest.fixture
def base_model(tiny_model: Callable[..., PreTrainedModel], base_tokenizer: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    tiny_model("llama").save_pretrained(folder)
    shutil.copytree(base_tokenizer, folder, dirs_exist_ok=True)
    return folder


def test_a_model_trained_on_turns_ends_with_them_wherever_it_goes(
    tables: dict[str, Any], write_recipe: Write, turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[True]), "model": {"path": str(base_model)}}
    tables["stage"] = [stage | {"steps": 2} for stage in tables["stage"]]
    list(run_recipe(load_recipe(write_recipe(tables))))
    for stage in ("full", "answer"):
        final = Path(tables["out"]) / stage / "final"
        model = AutoModelForCausalLM.from_pretrained(final)
        assert AutoTokenizer.from_pretrained(final).eos_token == "<turn>"
        assert model.generation_config.eos_token_id == [TURN, 0]  # the base model's own end is one still
        assert model.config.eos_token_id == TURN


def test_an_adapter_alone_holds_what_ends_its_completions(
    tables: dict[str, Any], write_recipe: Write, turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[True]), "model": {"path": str(base_model)}, "lora": {"r": 2}}
    tables["stage"] = [tables["stage"][0] | {"steps": 2}]
    list(run_recipe(load_recipe(write_recipe(tables))))
    adapter = Path(tables["out"]) / "full" / "final" / "adapter"
    assert AutoTokenizer.from_pretrained(adapter).eos_token == "<turn>"
    assert GenerationConfig.from_pretrained(adapter).eos_token_id == [TURN, 0]


@pytest.mark.parametrize(("own", "expected"), [([3, 0, 1], [TURN, 0]), (2, TURN), (0, [TURN, 0]), (None, TURN)])
def test_of_the_models_own_ends_those_stay_that_are_no_piece_of_text(
    own: Any, expected: Any, tables: dict[str, Any], write_recipe: Write, turns: dict[bool, Path], base_model: Path
) -> None:
    settings = base_model / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": own}))
    tables |= {"data": str(turns[True]), "model": {"path": str(base_model)}}
    tables["stage"] = [tables["stage"][0] | {"steps": 2}]
    list(run_recipe(load_recipe(write_recipe(tables))))
    saved = json.loads((Path(tables["out"]) / "full" / "final" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == expected


def test_a_plain_build_of_the_same_tokenizer_ends_with_its_eos(
    tables: dict[str, Any], write_recipe: Write, turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[False]), "model": {"path": str(base_model)}}
    tables["stage"] = [tables["stage"][0] | {"steps": 2}]
    list(run_recipe(load_recipe(write_recipe(tables))))
    final = Path(tables["out"]) / "full" / "final"
    assert AutoTokenizer.from_pretrained(final).eos_token == "<eos>"
    assert AutoModelForCausalLM.from_pretrained(final).generation_config.eos_token_id == 0


def test_a_pad_token_that_ends_the_turns_too_changes_nothing(
    tables: dict[str, Any], write_recipe: Write, turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[True]), "model": {"path": str(base_model)}}
    tables["stage"] = [tables["stage"][0] | {"steps": 2, "warmup_steps": 0}]
    settings, weights = base_model / "config.json", []
    for pad in (None, TURN):
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token_id": pad}))
        out = Path(tables["out"]) / str(pad)
        list(run_recipe(load_recipe(write_recipe(tables), [f"out={out}"])))
        weights.append((out / "full" / "final" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("said", [TURN, 0], ids=["the turn's end", "the model's own"])
def test_generation_during_training_stops_where_a_turn_ends(
    said: int, tiny_model: Callable[..., PreTrainedModel], turns: dict[bool, Path]
) -> None:
    prompts = read_prompts(read_training_set(turns[True]), 3, 5, None)
    assert _complete(_always(tiny_model, said), prompts, prompts.input_ids) == [("", "stop")] * 3


def _always(tiny_model: Callable[..., PreTrainedModel], token: int) -> PreTrainedModel:
    """A model that says one token whatever it reads, as its last norm gives the same vector everywhere."""
    model: Any = tiny_model("gpt2").eval()
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(model.lm_head.weight[token])
        others = torch.arange(len(model.lm_head.weight)) != token
        model.lm_head.weight[others] = 0
    checked: PreTrainedModel = model
    return checked


def test_a_heldout_set_that_ends_otherwise_is_refused(
    tables: dict[str, Any], fail: Callable[..., str], turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[True]), "heldout": str(turns[False]), "model": {"path": str(base_model)}}
    assert fail() == (
        f"heldout {turns[False]} ends its examples with '<eos>', data {turns[True]} with '<turn>': "
        "build both with --chat, or both without"
    )


def test_data_of_a_stage_that_end_otherwise_are_refused(
    tables: dict[str, Any], fail: Callable[..., str], turns: dict[bool, Path], base_model: Path
) -> None:
    tables |= {"data": str(turns[True]), "model": {"path": str(base_model)}}
    tables["stage"][1]["data"] = str(turns[False])
    assert fail() == (
        f"stage 'answer': data {turns[False]} ends its examples with '<eos>', data {turns[True]} with '<turn>': "
        "build both with --chat, or both without"
    )


def test_a_copy_of_the_tokenizer_with_another_eos_is_refused(
    tables: dict[str, Any], fail: Callable[..., str], turns: dict[bool, Path], base_tokenizer: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(turns[True], changed)
    shutil.copy(base_tokenizer / "tokenizer_config.json", changed / TOKENIZER_FOLDER)
    manifest = json.loads((changed / "manifest.json").read_text())
    del manifest["digest"]  # of a build that kept no hashes of other files than shards
    (changed / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    tables |= {"data": str(changed)}
    folder = changed / TOKENIZER_FOLDER
    assert fail() == f"{folder}: the EOS is '<eos>', but the manifest says that '<turn>' ends the examples"


def test_the_examples_end_with_the_turn(turns: dict[bool, Path]) -> None:
    ends: dict[bool, set[int]] = {chat: _last(read_training_set(path)) for chat, path in turns.items()}
    assert ends == {True: {TURN}, False: {0}}


def _last(data: TrainingSet) -> set[int]:
    return {int(example.input_ids[-1]) for example in data.examples.first(5)}
