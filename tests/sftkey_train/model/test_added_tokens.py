"""Tags as tokens of their own: a tokenizer with them builds exact data, a model makes room, learns and writes them."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.shards import open_shards
from sftkey_train.model.added_tokens import embed_added_tokens
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import dry_run, run_recipe

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Path]
TAGS = ("<Thinking>", "</Thinking>", "<Answer>", "</Answer>")


@pytest.fixture(scope="module")
def tagged_tokenizer(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.add_tokens([AddedToken(tag, special=True, normalized=False) for tag in TAGS], special_tokens=True)
    folder = tmp_path_factory.mktemp("tokenizer") / "tagged"
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def tagged_data(rows_file: Path, tagged_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "tags"
    config = BuildConfig(source="gsm8k", inputs=(str(rows_file),), tokenizer=str(tagged_tokenizer), template="sftkey")
    build(config, out)
    return out


@pytest.fixture(params=[False, True], ids=["apart", "tied"])
def base(request: pytest.FixtureRequest, tiny_model: Make, tokenizer_dir: Path, tmp_path: Path) -> Path:
    """A model whose vocabulary is as large as its tokenizer, without the tags."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    model = tiny_model("llama", vocab_size=len(tokenizer), tie_word_embeddings=request.param)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(str(tmp_path / "base"))
    return tmp_path / "base"


@pytest.fixture
def tables(tables: dict[str, Any], base: Path, tagged_data: Path) -> dict[str, Any]:
    stages = [stage | {"steps": 2, "lr": 1e-3} for stage in tables["stage"]]
    return tables | {"data": str(tagged_data), "model": {"path": str(base), "tags_as_tokens": True}, "stage": stages}


def test_each_tag_is_one_token_and_the_key_is_exact(tagged_data: Path, tagged_tokenizer: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tagged_tokenizer)
    tags = [tokenizer.convert_tokens_to_ids(tag) for tag in TAGS]
    for row in open_shards(tagged_data).to_pylist():
        ids = row["input_ids"]
        assert [id_ for id_ in ids if id_ in tags] == tags
        key = tokenizer.decode(ids[row["key_token_start"] : row["key_token_end"]])
        assert key.strip() == row["gold"]
        assert ids[row["cot_token_end"] - 1] == tags[1]


def _embedded(base: Path, tagged_tokenizer: Path) -> tuple[PreTrainedModel, PreTrainedModel]:
    plain, model = (AutoModelForCausalLM.from_pretrained(base) for _ in range(2))
    embed_added_tokens(model, str(base), AutoTokenizer.from_pretrained(tagged_tokenizer))
    return plain, model


def test_a_new_token_begins_as_the_mean_of_its_pieces(base: Path, tagged_tokenizer: Path) -> None:
    plain, model = _embedded(base, tagged_tokenizer)
    own, num = AutoTokenizer.from_pretrained(base), plain.config.vocab_size
    assert model.config.vocab_size == num + len(TAGS) == model.get_input_embeddings().weight.shape[0]
    for ends in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(m, ends)().weight for m in (plain, model))
        assert torch.equal(after[:num], before)
        for i, tag in enumerate(TAGS):
            pieces = own(tag, add_special_tokens=False).input_ids
            assert len(pieces) > 1
            torch.testing.assert_close(after[num + i], before[pieces].mean(0))
    tied = plain.config.tie_word_embeddings
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_a_vocabulary_with_room_keeps_its_size(tiny_model: Make, tokenizer_dir: Path, tagged_tokenizer: Path) -> None:
    model = tiny_model("llama")
    before = model.get_input_embeddings().weight.detach().clone()
    embed_added_tokens(model, str(tokenizer_dir), AutoTokenizer.from_pretrained(tagged_tokenizer))
    after, num = model.get_input_embeddings().weight, len(AutoTokenizer.from_pretrained(tokenizer_dir))
    assert after.shape == before.shape
    changed = (after != before).any(1).nonzero().flatten().tolist()
    assert changed == list(range(num, num + len(TAGS)))


@pytest.mark.parametrize("adapted", [pytest.param(False, marks=pytest.mark.slow), True], ids=["full", "lora"])
def test_two_stages_learn_the_new_tokens_and_leave_a_model_that_loads(
    adapted: bool, tables: dict[str, Any], base: Path, tagged_tokenizer: Path, write_recipe: Write
) -> None:
    plain, begun = _embedded(base, tagged_tokenizer)
    tied = bool(plain.config.tie_word_embeddings)
    saved = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    tables |= {"lora": {"r": 2, "modules_to_save": saved}} if adapted else {}
    full, answer = run_recipe(load_recipe(write_recipe(tables)))
    models = [AutoModelForCausalLM.from_pretrained(summary["final"]) for summary in (full, answer)]
    tokenizer, num = AutoTokenizer.from_pretrained(answer["final"]), plain.config.vocab_size
    assert len(tokenizer) == models[1].config.vocab_size == num + len(TAGS)
    new = [m.get_input_embeddings().weight[num:] for m in (begun, *models)]
    assert not any(torch.equal(one, other) for one, other in pairwise(new))
    torch.testing.assert_close(new[2], new[0], rtol=0, atol=0.02)  # four steps of 1e-3 from where they began
    if adapted:
        weights = load_file(Path(answer["final"]) / "adapter" / "adapter_model.safetensors")
        assert weights["base_model.model.model.embed_tokens.weight"].shape[0] == num + len(TAGS)


def test_a_dry_run_counts_the_new_rows(tables: dict[str, Any], base: Path, write_recipe: Write) -> None:
    num = AutoModelForCausalLM.from_pretrained(base).config.vocab_size
    lines = [line.plain for line in dry_run(load_recipe(write_recipe(tables)))]
    assert any(f"vocabulary {num + len(TAGS)}" in line for line in lines)


@pytest.mark.parametrize(
    ("model", "lora", "message"),
    [
        (
            {"tags_as_tokens": False},
            None,
            r"has 4 tokens that model '.*' lacks; model\.tags_as_tokens = true takes",
        ),
        ({}, {"r": 2}, "model: tags_as_tokens: 'embed_tokens'.* would not learn the new tokens; name it"),
    ],
    ids=["not_asked", "frozen"],
)
def test_tokens_that_would_be_lost_are_refused(
    model: Any, lora: Any, message: str, tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["model"] |= model
    tables |= {"lora": lora} if lora else {}
    with pytest.raises(SFTKeyError, match=message):
        list(run_recipe(load_recipe(write_recipe(tables))))


def test_without_new_tokens_it_is_refused(tables: dict[str, Any], data_dir: Path, fail: Callable[..., str]) -> None:
    tables["data"] = str(data_dir)
    assert fail().startswith(f"model: tags_as_tokens: {data_dir} has no token that ")


def test_a_new_model_needs_no_such_option(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["model"] = {"config": {"model_type": "llama"}, "tags_as_tokens": True}
    with pytest.raises(SFTKeyError, match="model: tags_as_tokens is for a pretrained model: a new one takes"):
        load_recipe(write_recipe(tables))
